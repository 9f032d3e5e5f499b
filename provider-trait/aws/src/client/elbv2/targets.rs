//! Registering targets: as many as AWS takes, although some of them may be refused.

use std::collections::BTreeSet;

use herald_provider::Gate;

use super::change::{Result, arn};
use super::{Elbv2, convert, send};
use crate::call::Answer;
use crate::client::caller::{Caller, Operation};
use crate::client::failure::Failure;
use crate::model::{Ref, Target};

/// Something is the matter with one of the targets.
const ONE: [&str; 2] = ["InvalidTarget", "TooManyRegistrationsForTargetId"];
/// The load balancer or the group is full.
const FULL: &str = "TooManyTargets";

impl Elbv2 {
    /// Registers targets. AWS refuses a call as a whole for one bad target, so a refused one is halved until the bad
    /// ones are alone; all others are registered, and the error names one that is not.
    pub(super) async fn register_targets(
        &self,
        caller: &Caller,
        group: &Ref,
        targets: &BTreeSet<Target>,
        gate: &dyn Gate,
    ) -> Result<Answer> {
        let arn = arn(group)?;
        let operation = Operation::targets("RegisterTargets", &group.name, gate);
        let mut left: Vec<Vec<&Target>> = vec![targets.iter().collect()];
        let mut refused = None;
        while let Some(mut some) = left.pop() {
            let sent = send!(caller, operation, {
                self.client
                    .register_targets()
                    .target_group_arn(arn)
                    .set_targets(Some(convert::to_targets(some.iter().copied())))
            });
            let Err(error) = sent else { continue };
            let full = error.is(FULL);
            if !full && !ONE.iter().any(|code| error.is(code)) {
                return Err(error.into_provider_error(operation));
            }
            if some.len() > 1 {
                let rest = some.split_off(some.len() / 2);
                left.extend([rest, some]);
                continue;
            }
            refused = Some(error);
            if full {
                break;
            }
        }
        match refused {
            Some(error) => Err(error.into_provider_error(operation)),
            None => Ok(Answer::Done),
        }
    }
}
