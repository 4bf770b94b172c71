//! Pods that depend on pods: they are there, stay there, and never wait for each other in a circle.

use skerry_ipc::{Refusal, RefusalClass};
use skerry_model::{Name, Pod, PodSpec, Resource};

use super::refuse::{store, wrong_field};
use crate::node::Node;

/// The pods that a pod depends on are there, and none of them depends on it, by however many others.
pub fn check_dependencies(node: &Node, name: &Name, spec: &PodSpec) -> Result<(), Refusal> {
    let pods = node.store.list::<Pod>().map_err(store)?;
    let next = |name: &Name| pods.iter().find(|pod| pod.meta.name == *name);
    for (index, on) in spec.depends_on.iter().enumerate() {
        let field = format!("spec.depends_on[{index}].pod");
        if on.pod != *name && next(&on.pod).is_none() {
            return Err(wrong_field(&field, format!("there is no pod `{}`", on.pod)));
        }
        let mut seen: Vec<Name> = Vec::new();
        let mut open = vec![on.pod.clone()];
        while let Some(pod) = open.pop() {
            if pod == *name {
                let message = format!("`{}` depends on `{name}` in turn, or is it", on.pod);
                return Err(wrong_field(&field, message));
            }
            if !seen.contains(&pod) {
                let further = next(&pod).into_iter().flat_map(|pod| &pod.spec.depends_on);
                open.extend(further.map(|on| on.pod.clone()));
                seen.push(pod);
            }
        }
    }
    Ok(())
}

/// A pod goes once no other one depends on it.
pub fn check_dependents(node: &Node, name: &Name) -> Result<(), Refusal> {
    let pods = node.store.list::<Pod>().map_err(store)?;
    let on = |pod: &&Resource<Pod>| pod.spec.depends_on.iter().any(|on| on.pod == *name);
    let users: Vec<String> = pods.iter().filter(on).map(|pod| pod.meta.name.to_string()).collect();
    if users.is_empty() {
        return Ok(());
    }
    let detail = format!("{} depends on `{name}`; change or delete these first", users.join(", "));
    Err(Refusal::new(RefusalClass::Conflict, detail))
}
