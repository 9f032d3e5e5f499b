//! `/debug/plan`: what the provider knows and plans for a Service.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use herald_controller_core::{Want, want};
use herald_core::ServiceKey;
use herald_provider::{LoadBalancerRequest, Provider, UnixTime, lock};

use super::Provisioner;

impl<P: Provider + 'static> Provisioner<P>
where
    P::Inventory: 'static,
{
    pub(super) fn explain(&self, key: &ServiceKey) -> String {
        let name = self.parts.identity.name;
        let Some(tracked) = self.services.get(key) else {
            return format!("provider {name}: not its Service\n");
        };
        let wanted = want(&tracked.view, &self.parts.identity);
        let request = LoadBalancerRequest {
            id: tracked.view.id(),
            services: vec![self.request(&tracked.view)],
            nodes: self.node_list.clone(),
        };
        let mut text = format!(
            "provider {name}: {wanted:?}, last pass: {}\nservice: {:#?}\n",
            tracked.outcome.unwrap_or("none"),
            tracked.view
        );
        let (Some(connected), Some(inventory)) = (&self.connected, &self.inventory) else {
            let reason = self.unreachable.as_ref().map(ToString::to_string);
            let reason = reason.unwrap_or_else(|| "this replica does not lead".into());
            return format!("{text}nothing is known of what exists: {reason}\n");
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = UnixTime(since.map_or(0, |since| since.as_secs()));
        let inventory = lock(inventory);
        let provider = &connected.provider;
        let (steps, verdict) = if wanted == Want::Release {
            let plan = provider.plan_release(&inventory, &request.id, now);
            (plan.steps, format!("{:#?}", plan.verdict))
        } else {
            let plan = provider.plan(&inventory, &request, now);
            (plan.steps, format!("{:#?}", plan.verdict))
        };
        text.push_str("plan:\n");
        for step in &steps {
            let _ = writeln!(text, "  {step}");
        }
        let _ = writeln!(text, "as things stand: {verdict}");
        text
    }
}
