//! Tables for the plan of a Service, by subject.

use crate::service::ServiceView;
use crate::world::svc;

#[path = "plan_tests/fairness.rs"]
mod fairness;
#[path = "plan_tests/families.rs"]
mod families;
#[path = "plan_tests/protection.rs"]
mod protection;
#[path = "plan_tests/requests.rs"]
mod requests;
#[path = "plan_tests/reserved.rs"]
mod reserved;
#[path = "plan_tests/stability.rs"]
mod stability;
#[path = "plan_tests/standing.rs"]
mod standing;

fn asks(name: &str, pool: Option<&str>, addresses: Option<&str>) -> ServiceView {
    let mut view = svc(name);
    view.request.pool = pool.map(Into::into);
    view.request.addresses = addresses.map(Into::into);
    view
}
