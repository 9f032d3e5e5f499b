//! What objects have to be to be read: one table for each kind, with the fields that Herald uses.

mod core;
mod ours;

use serde_json::{Map, Value, json};

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// True or false.
    Flag,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A text.
    Text,
    /// One of these texts.
    Word(&'static [&'static str]),
    /// A time as RFC 3339 writes it.
    Time,
    /// A whole number of 32 bits, or a text.
    IntOrText,
    /// Values under keys that somebody else chooses.
    Map(&'static Self),
    /// A list.
    List(&'static Self),
    /// Fields with known names. All others are passed over.
    Object(&'static [Field]),
}

/// A field that is used.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) lost: Lost,
    /// The types have no word for its absence: an empty value stands in.
    pub(crate) required: bool,
}

/// What goes with a field, or an element of it, that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// That alone.
    Field,
    /// The object around it: half of it would mean something else.
    Around,
    /// An element goes alone; a list that is none costs the trust in the object.
    Whole,
    /// The trust in the whole object: what was known of it stays.
    Trust,
    /// As [`Lost::Trust`]; and who reads it all the same finds a text that means nothing, lest an empty list let everybody in.
    Deny,
}

/// A field that costs itself alone.
const fn field(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        lost: Lost::Field,
        required: false,
    }
}

/// A field without which the object around it means something else.
const fn vital(name: &'static str, shape: Shape) -> Field {
    Field {
        lost: Lost::Around,
        ..field(name, shape)
    }
}

/// A field that decides: unreadable, it leaves everything as it is.
const fn decisive(name: &'static str, shape: Shape) -> Field {
    Field {
        lost: Lost::Trust,
        ..field(name, shape)
    }
}

impl Field {
    /// Absent, it is read as empty.
    const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    /// An element that cannot be read costs itself alone.
    const fn by_element(self) -> Self {
        Self {
            lost: Lost::Whole,
            ..self
        }
    }

    /// Unreadable, it lets nobody in.
    const fn denying(self) -> Self {
        Self {
            lost: Lost::Deny,
            ..self
        }
    }
}

impl Shape {
    /// What stands in for a required value.
    pub(crate) fn empty(&self) -> Value {
        match self {
            Self::Flag => json!(false),
            Self::Int32 | Self::Int64 | Self::IntOrText => json!(0),
            Self::Text => json!(""),
            Self::Word(words) => json!(words.first()),
            Self::Time => json!("1970-01-01T00:00:00Z"),
            Self::Map(_) => json!({}),
            Self::List(_) => json!([]),
            Self::Object(fields) => {
                let mut object = Map::new();
                fill(fields, &mut object);
                Value::Object(object)
            }
        }
    }
}

/// Puts in what is required and absent.
pub(crate) fn fill(fields: &[Field], object: &mut Map<String, Value>) {
    for field in fields.iter().filter(|field| field.required) {
        if !object.contains_key(field.name) {
            object.insert(field.name.into(), field.shape.empty());
        }
    }
}

const TEXTS: Shape = Shape::List(&Shape::Text);
const TEXT_MAP: Shape = Shape::Map(&Shape::Text);

/// What is used of every object's metadata. Labels and annotations carry wishes and marks: without them an address might be
/// withdrawn. A garbled time of deletion is no deletion yet.
const METADATA: Shape = Shape::Object(&[
    field("name", Shape::Text),
    field("namespace", Shape::Text),
    field("uid", Shape::Text),
    field("resourceVersion", Shape::Text),
    field("generation", Shape::Int64),
    field("creationTimestamp", Shape::Time),
    decisive("deletionTimestamp", Shape::Time),
    decisive("labels", TEXT_MAP),
    decisive("annotations", TEXT_MAP),
    decisive("finalizers", TEXTS),
]);

/// Conditions of the form that most kinds have. A time that cannot be read is that of the epoch.
const CONDITIONS: Shape = Shape::List(&Shape::Object(&[
    vital("type", Shape::Text),
    vital("status", Shape::Text),
    field("reason", Shape::Text),
    field("message", Shape::Text),
    field("observedGeneration", Shape::Int64),
    field("lastTransitionTime", Shape::Time).required(),
]));
