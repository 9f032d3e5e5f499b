use std::collections::BTreeMap;

use herald_provider_aws::call::{Answer, Listing, Query};
use herald_provider_aws::model::{
    Health, Listener, LoadBalancer, Ref, SecurityGroup, State, Target, TargetGroup,
};

use super::{Group, Nlb, World};

fn load_balancer(world: &World, nlb: &Nlb) -> LoadBalancer {
    let state = if nlb.spec.state == State::Failed {
        State::Failed
    } else if nlb.active_at <= world.now {
        State::Active
    } else {
        State::Provisioning
    };
    LoadBalancer {
        state,
        attributes: None,
        listeners: None,
        ..nlb.spec.clone()
    }
}

fn target_group(group: &Group) -> TargetGroup {
    let (arn, spec) = (group.arn.clone(), group.spec.clone());
    TargetGroup {
        arn,
        spec,
        attributes: None,
        targets: None,
    }
}

pub(super) fn list(world: &World) -> Listing {
    Listing {
        load_balancers: world
            .load_balancers
            .values()
            .map(|n| load_balancer(world, n))
            .collect(),
        target_groups: world.groups.values().map(target_group).collect(),
        security_groups: world.security_groups.values().cloned().collect(),
        subnets: world.subnets.clone(),
        vpc: world.vpc.clone(),
    }
}

pub(super) fn ask(world: &World, query: &Query) -> Answer {
    let nlb = |lb: &Ref| {
        world
            .load_balancers
            .values()
            .find(|n| Some(&n.spec.arn) == lb.id.as_ref())
    };
    let group = |g: &Ref| {
        world
            .groups
            .values()
            .find(|n| Some(&n.arn) == g.id.as_ref())
    };
    match query {
        Query::Names {
            load_balancers,
            target_groups,
            security_groups,
            ..
        } => Answer::Names {
            load_balancers: world
                .load_balancers
                .iter()
                .filter(|(name, _)| load_balancers.contains(*name))
                .map(|(_, nlb)| load_balancer(world, nlb))
                .collect(),
            target_groups: world
                .groups
                .iter()
                .filter(|(name, _)| target_groups.contains(*name))
                .map(|(_, group)| target_group(group))
                .collect(),
            security_groups: world
                .security_groups
                .values()
                .filter(|group: &&SecurityGroup| security_groups.contains(&group.name))
                .cloned()
                .collect(),
        },
        Query::Network(_) => Answer::Network {
            security_groups: world.security_groups.values().cloned().collect(),
            subnets: world.subnets.clone(),
            vpc: world.vpc.clone(),
        },
        Query::States { arns, .. } => {
            let found = world
                .load_balancers
                .values()
                .filter(|n| arns.contains(&n.spec.arn));
            Answer::States(found.map(|n| load_balancer(world, n)).collect())
        }
        Query::Listeners(lb) => Answer::Listeners(nlb(lb).map(|nlb| {
            let hide = |l: &Listener| Listener {
                attributes: None,
                ..l.clone()
            };
            nlb.listeners
                .iter()
                .map(|(port, l)| (*port, hide(l)))
                .collect()
        })),
        Query::ListenerAttributes {
            load_balancer,
            port,
            ..
        } => {
            let listener = nlb(load_balancer).and_then(|nlb| nlb.listeners.get(port));
            Answer::Attributes(listener.map(|l| l.attributes.clone().unwrap_or_default()))
        }
        Query::Attributes(lb) => Answer::Attributes(nlb(lb).map(|nlb| nlb.attributes.clone())),
        Query::GroupAttributes(g) => Answer::Attributes(group(g).map(|g| g.attributes.clone())),
        Query::Targets(g) => Answer::Targets(group(g).map(|group| targets(world, group))),
    }
}

fn targets(world: &World, group: &Group) -> BTreeMap<Target, Health> {
    let health = |target: &super::Registered| match world.healthy_at(group, target) {
        _ if target.draining.is_some() => Health::Draining,
        None => Health::Unhealthy("Target.NotInUse".into()),
        Some(_) if world.sick => Health::Unhealthy("Target.FailedHealthChecks".into()),
        Some(at) if at <= world.now => Health::Healthy,
        Some(_) => Health::Initial,
    };
    group
        .targets
        .iter()
        .map(|(target, state)| (target.clone(), health(state)))
        .collect()
}
