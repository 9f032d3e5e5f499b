mod bytes;
mod round_trip;

use crate::*;

fn table() -> TableName {
    TableName::new(Family::Ipv4, "herald")
}

fn batch(operations: &[Operation]) -> Encoded<()> {
    let mut batch = Batch::new();
    for operation in operations {
        batch.push((), operation);
    }
    batch.finish().unwrap()
}

/// An error as the kernel sends it: capped, with the offset of the attribute at fault.
fn refusal(sequence: u32, errno: i32, offset: u32) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(44u32.to_ne_bytes());
    message.extend(2u16.to_ne_bytes());
    message.extend(0x300u16.to_ne_bytes());
    message.extend([0; 8]);
    message.extend((-errno).to_ne_bytes());
    message.extend(60u32.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(8u16.to_ne_bytes());
    message.extend(2u16.to_ne_bytes());
    message.extend(offset.to_ne_bytes());
    message
}

#[test]
fn errors_name_the_message_and_the_attribute() {
    let answers = decode(&refusal(7, 17, 44)).unwrap();
    let [
        Decoded::Answer {
            sequence: 7,
            fault: Some(fault),
        },
    ] = answers.as_slice()
    else {
        panic!("{answers:?}");
    };
    assert_eq!((fault.errno, fault.offset), (17, Some(44)));
    assert_eq!(
        decode(&[&refusal(1, 2, 0)[..], &refusal(2, 2, 0)].concat())
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn truncated_datagrams_are_malformed() {
    let whole = refusal(1, 2, 0);
    for length in 1..20 {
        assert_eq!(decode(&whole[..length]), Err(Malformed), "{length}");
    }
    assert_eq!(decode(&[]), Ok(Vec::new()));
}

#[test]
fn every_message_knows_what_it_is_for() {
    let mut batch = Batch::new();
    let element = |n: u32| Element::key(n.to_be_bytes().to_vec());
    let elements = |count| {
        Operation::AddElements(Elements {
            set: table().set("addresses"),
            elements: (0..count).map(element).collect(),
        })
    };
    let operation = Operation::AddTable(Table {
        name: table(),
        flags: 0,
    });
    batch.push("table", &operation);
    batch.push("few", &elements(3));
    batch.push("many", &elements(10_000));
    batch.push("more", &elements(1));
    assert_eq!(batch.elements(), 10_004);
    let messages = batch.messages();
    let encoded = batch.finish().unwrap();
    let sequence = |n: usize| u32::try_from(n).unwrap();
    assert_eq!(encoded.tag(0), None, "the begin of the batch");
    assert_eq!(encoded.tag(1), Some(&"table"));
    assert_eq!(encoded.tag(2), Some(&"few"));
    assert!((3..sequence(messages)).all(|n| encoded.tag(n) == Some(&"many")));
    assert_eq!(encoded.tag(sequence(messages)), Some(&"more"));
    assert_eq!(
        encoded.tag(sequence(messages) + 1),
        None,
        "the end of the batch"
    );
    assert!(
        messages >= 6,
        "10,000 elements do not fit into one attribute"
    );
}

#[test]
fn long_lists_are_split_below_the_attribute_limit() {
    let elements: Vec<_> = (0..5000u32)
        .map(|n| {
            let key = [n.to_be_bytes(); 8].concat();
            Element::entry(key.clone(), Data::Bytes(key))
        })
        .collect();
    let encoded = batch(&[Operation::AddElements(Elements {
        set: table().set("endpoints"),
        elements: elements.clone(),
    })]);
    assert!(encoded.messages() > 5);
    let read = decode(encoded.bytes()).unwrap().into_iter();
    let read: Vec<Element> = read
        .filter_map(|d| match d {
            Decoded::Elements(e) => Some(e.elements),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(read, elements);
}

#[test]
fn what_cannot_be_said_is_an_error() {
    let mut batch = Batch::new();
    let name = TableName::new(Family::Ipv4, "x".repeat(70_000));
    batch.push((), &Operation::AddTable(Table { name, flags: 0 }));
    assert!(batch.finish().is_err());
}

#[test]
fn registers_are_named_as_the_kernel_names_them() {
    let numbers: Vec<u32> = (0..16).map(|w| Register::at(w).unwrap().number()).collect();
    assert_eq!(
        numbers,
        [1, 9, 10, 11, 2, 13, 14, 15, 3, 17, 18, 19, 4, 21, 22, 23]
    );
    for word in 0..16 {
        let register = Register::at(word).unwrap();
        assert_eq!(Register::from_number(register.number()), Some(register));
        assert_eq!(Register::from_number(8 + word), Some(register));
    }
    assert_eq!(Register::at(16), None);
    assert_eq!(Register::from_number(0), None);
    assert_eq!(Register::from_number(24), None);
}

#[test]
fn types_are_nfts_numbers() {
    let key = KeyType(vec![Field::Protocol, Field::Ipv4Address, Field::Port]);
    assert_eq!(key.number(), (0xc << 12) | (0x7 << 6) | 0xd);
    assert_eq!(key.length(), 12);
    let key = KeyType(vec![
        Field::Ipv6Address,
        Field::Protocol,
        Field::Port,
        Field::Mark,
    ]);
    assert_eq!(key.length(), 28);
    assert_eq!(KeyType::from_number(key.number()), Some(key));
    assert_eq!(KeyType(vec![Field::Protocol]).length(), 1);
    assert_eq!(KeyType::from_number(0), None);
}
