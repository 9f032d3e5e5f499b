//! From what the API server sends to a value that has its shape: everything else is passed over while it is parsed.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::shape::{Field, Lost, Shape, fill};

/// What could not be read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) lost: Vec<String>,
    pub(crate) doubtful: bool,
}

impl Report {
    fn reading<'a>(&'a mut self, shape: &'a Shape, path: Path<'a>, lost: Lost) -> Reading<'a> {
        Reading {
            shape,
            path,
            report: self,
            lost,
        }
    }

    /// What is left of a list or map, some of whose elements may be lost.
    fn rest(&mut self, rest: Value, complete: bool, lost: Lost) -> Got {
        if complete {
            return Got::Value(rest);
        }
        self.doubtful |= matches!(lost, Lost::Trust | Lost::Deny);
        if lost == Lost::Around {
            Got::Lost
        } else {
            Got::Value(rest)
        }
    }
}

/// What became of a value.
pub(crate) enum Got {
    /// It has its shape.
    Value(Value),
    /// It is null, which means absent.
    Null,
    /// It is something else.
    Lost,
}

/// Where in the object we are.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Field(&'a Self, &'a str),
    Key(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => write!(to, "{name}"),
            Self::Field(parent, name) => write!(to, "{parent}.{name}"),
            Self::Key(parent, key) => write!(to, "{parent}[{key}]"),
            Self::Index(parent, index) => write!(to, "{parent}[{index}]"),
        }
    }
}

/// Reads one value.
pub(crate) struct Reading<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) path: Path<'a>,
    pub(crate) report: &'a mut Report,
    /// What goes with elements that cannot be read.
    pub(crate) lost: Lost,
}

/// What stands in a list that lets somebody in for what cannot be read: nobody.
const NOBODY: &str = "unreadable";

impl Reading<'_> {
    fn mismatch(self) -> Got {
        // The object itself has no path.
        let path = match self.path {
            Path::Root => "the object".into(),
            path => path.to_string(),
        };
        self.report.lost.push(path);
        Got::Lost
    }

    fn number(self, number: Option<i64>) -> Got {
        match (self.shape, number) {
            (Shape::Int64, Some(number)) => Got::Value(json!(number)),
            (Shape::Int32 | Shape::IntOrText, Some(number)) if i32::try_from(number).is_ok() => {
                Got::Value(json!(number))
            }
            _ => self.mismatch(),
        }
    }

    fn reads(&self, text: &str) -> bool {
        match self.shape {
            Shape::Text | Shape::IntOrText => true,
            Shape::Word(words) => words.contains(&text),
            Shape::Time => serde_json::from_value::<MicroTime>(json!(text)).is_ok(),
            _ => false,
        }
    }
}

/// The index of a known field.
struct Name<'a>(&'a [Field]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<Field>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|field| field.name == name).copied())
    }
}

impl Reading<'_> {
    fn fields<'de, A: MapAccess<'de>>(
        self,
        fields: &[Field],
        mut entries: A,
    ) -> Result<Got, A::Error> {
        let (mut object, mut whole) = (Map::new(), true);
        while let Some(known) = entries.next_key_seed(Name(fields))? {
            let Some(field) = known else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            let path = Path::Field(&self.path, field.name);
            let reading = self.report.reading(&field.shape, path, field.lost);
            match entries.next_value_seed(reading)? {
                Got::Value(value) => {
                    object.insert(field.name.into(), value);
                }
                Got::Null => {}
                Got::Lost => match field.lost {
                    Lost::Field => {}
                    Lost::Around => whole = false,
                    Lost::Trust | Lost::Whole => self.report.doubtful = true,
                    Lost::Deny => {
                        self.report.doubtful = true;
                        object.insert(field.name.into(), json!([NOBODY]));
                    }
                },
            }
        }
        if !whole {
            return Ok(Got::Lost);
        }
        fill(fields, &mut object);
        Ok(Got::Value(object.into()))
    }

    fn entries<'de, A: MapAccess<'de>>(
        self,
        shape: &Shape,
        mut entries: A,
    ) -> Result<Got, A::Error> {
        let (mut map, mut complete) = (Map::new(), true);
        while let Some(key) = entries.next_key::<String>()? {
            let path = Path::Key(&self.path, &key);
            match entries.next_value_seed(self.report.reading(shape, path, self.lost))? {
                Got::Value(value) => {
                    map.insert(key, value);
                }
                // As the API server reads it.
                Got::Null => {
                    map.insert(key, shape.empty());
                }
                Got::Lost => complete = false,
            }
        }
        Ok(self.report.rest(map.into(), complete, self.lost))
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Got;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Got, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Got;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "any value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Got, E> {
        Ok(match self.shape {
            Shape::Flag => Got::Value(Value::Bool(flag)),
            _ => self.mismatch(),
        })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Got, E> {
        Ok(self.number(Some(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Got, E> {
        Ok(self.number(i64::try_from(number).ok()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Got, E> {
        Ok(self.number(None))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Got, E> {
        // Copied only if it is kept.
        Ok(if self.reads(text) {
            Got::Value(text.into())
        } else {
            self.mismatch()
        })
    }

    fn visit_unit<E: Error>(self) -> Result<Got, E> {
        Ok(Got::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Got, E> {
        Ok(Got::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Got, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Got, A::Error> {
        let Shape::List(shape) = self.shape else {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(self.mismatch());
        };
        let (mut list, mut complete) = (Vec::new(), true);
        for index in 0.. {
            let path = Path::Index(&self.path, index);
            match elements.next_element_seed(self.report.reading(shape, path, self.lost))? {
                None => break,
                Some(Got::Value(value)) => list.push(value),
                Some(got) => {
                    complete = false;
                    if matches!(got, Got::Null) {
                        // No element may be null.
                        self.report.lost.push(path.to_string());
                    }
                    if self.lost == Lost::Deny {
                        list.push(NOBODY.into());
                    }
                }
            }
        }
        Ok(self.report.rest(list.into(), complete, self.lost))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Got, A::Error> {
        match self.shape {
            Shape::Object(fields) => self.fields(fields, entries),
            Shape::Map(shape) => self.entries(shape, entries),
            _ => {
                let mut entries = entries;
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.mismatch())
            }
        }
    }
}
