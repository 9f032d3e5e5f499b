//! An object as far as it could be read.

use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::filter::{Got, Path, Reading, Report};
use crate::shape::{Lost, Shape};

/// A kind that can be read.
pub trait Readable: Resource<DynamicType = ()> + DeserializeOwned {
    /// The fields that are used, and what they have to be.
    const SHAPE: Shape;
}

/// An object of which everything that is used and can be read was read. Decoding it never fails: it stands for the object in lists,
/// watches and answers to writes.
#[derive(Clone, Debug)]
pub struct Read<K> {
    /// The object; its metadata if not even that much could be made of it.
    object: Result<K, Box<ObjectMeta>>,
    lost: Vec<String>,
    doubtful: bool,
}

impl<K: Readable> Read<K> {
    /// The object, without what cannot be read.
    pub fn object(&self) -> Option<&K> {
        self.object.as_ref().ok()
    }

    /// The object, without what cannot be read.
    pub fn into_object(self) -> Option<K> {
        self.object.ok()
    }

    /// The object, if nothing that decides was lost: what differs from earlier was meant so.
    pub fn trusted(&self) -> Option<&K> {
        self.object().filter(|_| !self.doubtful)
    }

    /// The fields that could not be read (`spec.ports[0].port`), in the order in which they came.
    pub fn lost(&self) -> &[String] {
        &self.lost
    }

    /// Whether a field that decides was lost: what was known of the object stays as it is.
    pub fn doubtful(&self) -> bool {
        self.doubtful
    }
}

impl<'de, K: Readable> Deserialize<'de> for Read<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut report = Report::default();
        let reading = Reading {
            shape: &K::SHAPE,
            path: Path::Root,
            report: &mut report,
            lost: Lost::Trust,
        };
        let value = match reading.deserialize(deserializer)? {
            Got::Value(value) => value,
            Got::Null | Got::Lost => {
                report.doubtful = true;
                K::SHAPE.empty()
            }
        };
        let metadata = value.get("metadata").cloned();
        let object = serde_json::from_value(value).map_err(|error| {
            report.lost.push(format!("the object ({error})"));
            report.doubtful = true;
            serde_json::from_value(metadata.unwrap_or(Value::Null)).unwrap_or_default()
        });
        Ok(Self {
            object,
            lost: report.lost,
            doubtful: report.doubtful,
        })
    }
}

impl<K: Readable> Resource for Read<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.object.as_ref().map_or_else(|meta| &**meta, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.object
            .as_mut()
            .map_or_else(|meta| &mut **meta, K::meta_mut)
    }
}
