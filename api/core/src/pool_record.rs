//! The record of the pools an address was in before its present one: text in an annotation, written by the controller and read
//! by both halves.

/// Most earlier pools that are remembered of one address.
const REMEMBERED_MAX: usize = 8;

/// Reads the record: for each address in the order of the Service's status the pools it was in, the latest first.
pub fn earlier_pools(text: &str) -> Vec<Vec<String>> {
    let each = text.split(',').map(|pools| {
        let names = pools.split('/').map(str::trim);
        let names = names.filter(|name| !name.is_empty());
        names.take(REMEMBERED_MAX).map(str::to_owned).collect()
    });
    each.collect()
}

/// Writes the record; `None` when no address was in another pool.
pub fn write_earlier_pools(each: &[Vec<String>]) -> Option<String> {
    let known = each.iter().any(|pools| !pools.is_empty());
    let texts = each.iter().map(|pools| pools.join("/"));
    known.then(|| texts.collect::<Vec<_>>().join(","))
}

/// The record of an address that is in pool `now`, and was in `before` (the latest first) as far as was known: each pool once.
pub fn remember_pools<'a>(now: &str, before: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut pools: Vec<String> = Vec::new();
    for name in before {
        if name != now && pools.len() < REMEMBERED_MAX && !pools.iter().any(|known| known == name) {
            pools.push(name.to_owned());
        }
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let each = vec![
            vec!["lan".to_owned(), "old".to_owned()],
            Vec::new(),
            vec!["six".to_owned()],
        ];
        let text = write_earlier_pools(&each).unwrap();
        assert_eq!(text, "lan/old,,six");
        assert_eq!(earlier_pools(&text), each);
        assert_eq!(write_earlier_pools(&[Vec::new(), Vec::new()]), None);
    }

    #[test]
    fn each_pool_is_remembered_once_and_only_so_many() {
        let before = ["b", "a", "b", "now", "c"];
        assert_eq!(remember_pools("now", before.into_iter()), ["b", "a", "c"]);
        let many: Vec<String> = (0..100).map(|n| format!("p{n}")).collect();
        let kept = remember_pools("now", many.iter().map(String::as_str));
        assert_eq!(kept.len(), REMEMBERED_MAX);
        assert_eq!(earlier_pools(&many.join("/"))[0].len(), REMEMBERED_MAX);
    }
}
