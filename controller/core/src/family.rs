//! One value for each IP family.

use herald_core::IpFamily;

/// A pair of values, one for IPv4 and one for IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerFamily<T> {
    /// The IPv4 value.
    pub v4: T,
    /// The IPv6 value.
    pub v6: T,
}

impl<T> PerFamily<T> {
    /// The value of `family`.
    pub fn get(&self, family: IpFamily) -> &T {
        match family {
            IpFamily::V4 => &self.v4,
            IpFamily::V6 => &self.v6,
        }
    }

    /// The value of `family`, to change it.
    pub fn get_mut(&mut self, family: IpFamily) -> &mut T {
        match family {
            IpFamily::V4 => &mut self.v4,
            IpFamily::V6 => &mut self.v6,
        }
    }
}

/// Both families, IPv4 first.
pub const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

/// Which families a Service asks for (`spec.ipFamilyPolicy` and `spec.ipFamilies`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyRequest {
    /// The families in the Service's order, the primary one first; at most one entry of each.
    pub order: Vec<IpFamily>,
    /// `RequireDualStack`: all of `order` or nothing. Otherwise one of several is enough.
    pub all: bool,
}

impl FamilyRequest {
    /// A request for one family.
    pub fn single(family: IpFamily) -> Self {
        Self {
            order: vec![family],
            all: true,
        }
    }
}
