//! Machines of which no record speaks: seen, counted, and removed when somebody says so.

use skerry_model::{Id, Vm};
use uuid::Uuid;

use crate::scenarios::running;
use crate::testing::{Mood, Node, definition};
use crate::{AdmissionError, VmStep};

fn stranger() -> Id<Vm> {
    Id::new(Uuid::from_u128(77))
}

/// A domain that runs with so much memory and has no record.
fn appears(node: &Node, memory_mib: u64) {
    let mut definition = definition(77);
    (definition.vm, definition.memory_mib) = (stranger(), memory_mib);
    node.fake.with(stranger(), |domain| {
        domain.apply(&VmStep::Define(Box::new(definition)));
        domain.apply(&VmStep::Start(stranger()));
    });
}

#[tokio::test(start_paused = true)]
async fn one_without_a_record_is_shown_and_counted() {
    let node = Node::new(2048).await;
    running(&node, 1).await;
    assert_eq!(node.controller.look_for_unmanaged().await.unwrap(), Some(vec![]), "at first");
    assert_eq!(node.controller.look_for_unmanaged().await.unwrap(), None, "nothing was heard");
    let spec = node.vm(Id::new(Uuid::from_u128(1))).spec;
    node.controller.admit_vm(&spec, None).unwrap();

    appears(&node, 1500);
    // The hypervisor tells of it, and the pass finds no record.
    node.pass(stranger()).await.unwrap();
    let found = node.controller.look_for_unmanaged().await.unwrap().unwrap();
    assert_eq!((found.len(), found[0].id, found[0].running), (1, stranger(), true));
    assert!(found[0].memory_mib > 1500, "with what QEMU takes: {found:?}");
    let refused = node.controller.admit_vm(&spec, None).unwrap_err();
    assert!(matches!(refused, AdmissionError::DoesNotFit(_)), "{refused}");
    let second = node.create(2, 512).await;
    node.settle(second, crate::scenarios::MINUTE).await;
    assert_eq!(crate::scenarios::reason(&node, second), "DoesNotFit");

    // Nothing was done to it, and while there is one, it is looked at each time.
    assert!(node.fake.log().iter().all(|(vm, _)| *vm != stranger()));
    node.fake.set(Mood::Away);
    node.controller.look_for_unmanaged().await.unwrap_err();
    node.fake.set(Mood::Good);
    assert_eq!(node.controller.look_for_unmanaged().await.unwrap().map(|all| all.len()), Some(1));

    assert!(node.controller.remove_unmanaged(stranger()).await.unwrap());
    let log = node.fake.log();
    let steps: Vec<_> = log.iter().filter(|(vm, _)| *vm == stranger()).map(|(_, s)| *s).collect();
    assert_eq!(steps, ["destroy", "undefine", "erase"]);
    assert_eq!(node.controller.look_for_unmanaged().await.unwrap(), Some(vec![]));
    node.controller.admit_vm(&spec, None).unwrap();
    assert!(!node.controller.remove_unmanaged(stranger()).await.unwrap(), "it is gone");
}

#[tokio::test(start_paused = true)]
async fn one_with_a_record_is_not_removed_so() {
    let node = Node::new(2048).await;
    let vm = running(&node, 1).await;
    node.fake.log();
    assert!(!node.controller.remove_unmanaged(vm).await.unwrap());
    assert_eq!(node.fake.log(), []);
}
