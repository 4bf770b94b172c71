//! Further network interfaces of virtual machines.

use serde_json::{Value, json};
use skerry_ipc::Request;
use skerry_model::{Kind, Name};

use crate::shell::{Done, Failure, Shell};
use crate::verbs::workload::change_list;

pub(super) async fn attach(shell: &mut Shell<'_, '_>, network: &Name, vm: &Name) -> Done {
    let nic = json!({ "network": network });
    change_list(shell, vm.as_str(), "nics", |nics| nics.push(nic.clone())).await?;
    shell.say(&format!("{vm} is to have an interface on {network}."))
}

pub(super) async fn detach(shell: &mut Shell<'_, '_>, network: &Name, vm: &Name) -> Done {
    let is_it = |nic: &Value| nic.get("network").and_then(Value::as_str) == Some(network.as_str());
    let request = Request::Get { kind: Kind::Vm, key: vm.to_string() };
    let document = shell.document(request).await?;
    let nics = document.pointer("/spec/nics").and_then(Value::as_array);
    if !nics.is_some_and(|nics| nics.iter().any(is_it)) {
        let said = format!("{vm} has no further interface on {network}");
        return Err(Failure::Outcome(said));
    }
    change_list(shell, vm.as_str(), "nics", |nics| nics.retain(|nic| !is_it(nic))).await?;
    shell.say(&format!("{vm} is to lose its interface on {network}."))
}
