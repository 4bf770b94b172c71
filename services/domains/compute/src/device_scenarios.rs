//! Guests that have devices of the node: waited for, followed while they run, and had by one guest alone.

use skerry_model::{HostDevice, Id, UsbPlace, Vm, VmPower, VmState};

use crate::AdmissionError;
use crate::scenarios::{MINUTE, reason, seconds};
use crate::testing::{Mood, Node};

const KEY: &str = "usb:0403:6001:A9";
const PORT: &str = "usb-port:0000:00:14.0/1";

fn place(device: u16) -> UsbPlace {
    UsbPlace { bus: 1, device, vendor: 0x0403, product: 0x6001 }
}

fn key(device: u16) -> HostDevice {
    let names = vec![KEY.to_owned(), PORT.to_owned()];
    HostDevice { names, usb: Some(place(device)), ..HostDevice::default() }
}

async fn with_device(node: &Node, number: u128, name: &str) -> Id<Vm> {
    let vm = node.create(number, 128).await;
    node.edit(vm, |spec| spec.host_devices = vec![name.to_owned()]).await;
    node.settle(vm, seconds(20)).await;
    vm
}

fn plugged(node: &Node, vm: Id<Vm>) -> Vec<u16> {
    let seen = node.fake.with(vm, |domain| domain.look());
    seen.map(|domain| domain.usb.iter().map(|place| place.device).collect()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_machine_waits_for_its_device_and_follows_the_plug() {
    let node = Node::new(4096).await;
    let vm = with_device(&node, 1, KEY).await;
    assert_eq!(node.vm(vm).status.state, VmState::Stopped);
    assert_eq!(reason(&node, vm), "DeviceMissing");
    let told = node.vm(vm).status.reason;
    assert_eq!(told, format!("waits for the device `{KEY}` to be plugged in"));

    node.fake.set_devices(vec![key(4)]);
    node.settle(vm, seconds(20)).await;
    assert_eq!((node.vm(vm).status.state, plugged(&node, vm)), (VmState::Running, vec![4]));
    let status = node.vm(vm).status;
    assert!(status.conditions.get("Pending").is_none(), "{:?}", status.conditions);

    node.fake.set_devices(Vec::new());
    node.settle(vm, seconds(20)).await;
    assert_eq!((node.vm(vm).status.state, plugged(&node, vm)), (VmState::Running, vec![]));
    assert_eq!(reason(&node, vm), "DeviceMissing");
    node.fake.set_devices(vec![key(9)]);
    node.settle(vm, seconds(20)).await;
    assert_eq!((reason(&node, vm).as_str(), plugged(&node, vm)), ("Running", vec![9]));

    node.edit(vm, |spec| spec.host_devices.clear()).await;
    node.settle(vm, MINUTE).await;
    assert_eq!((node.vm(vm).status.state, plugged(&node, vm)), (VmState::Running, vec![]));
}

#[tokio::test(start_paused = true)]
async fn no_two_machines_have_one_device() {
    let node = Node::new(4096).await;
    node.fake.set_devices(vec![key(4)]);
    let first = with_device(&node, 1, KEY).await;
    assert_eq!(node.vm(first).status.state, VmState::Running);
    let second = with_device(&node, 2, PORT).await;
    assert_eq!(node.vm(second).status.state, VmState::Stopped);
    assert_eq!(reason(&node, second), "DeviceInUse");
    let told = node.vm(second).status.reason;
    assert_eq!(told, format!("the device `{PORT}` is given to the virtual machine `vm-1`"));
    let refused = node.controller.admit_vm(&node.vm(second).spec, Some(second)).unwrap_err();
    assert!(matches!(refused, AdmissionError::DeviceTaken(_)), "{refused}");
    assert!(
        node.controller.admit_vm(&node.vm(first).spec, Some(first)).is_err(),
        "so is the other"
    );

    node.want(first, VmPower::Stopped).await;
    node.settle(first, MINUTE).await;
    node.settle(second, seconds(20)).await;
    assert_eq!((node.vm(second).status.state, plugged(&node, second)), (VmState::Running, vec![4]));
}

#[tokio::test(start_paused = true)]
async fn what_the_node_needs_is_not_given_and_a_bad_plug_stops_nobody() {
    let node = Node::new(4096).await;
    let mut disk = key(4);
    disk.refused = Some("holds the disk sda, which is mounted at /".into());
    node.fake.set_devices(vec![disk]);
    let vm = with_device(&node, 1, KEY).await;
    assert_eq!(reason(&node, vm), "DeviceRefused");
    let unfit = node.controller.unfit_device(&node.vm(vm).spec.host_devices).unwrap();
    assert!(unfit.ends_with("it holds the disk sda, which is mounted at /"), "{unfit}");

    node.fake.set_devices(vec![key(4)]);
    node.settle(vm, seconds(20)).await;
    node.fake.set(Mood::NoPlug);
    node.fake.set_devices(vec![key(5)]);
    node.settle(vm, seconds(20)).await;
    assert_eq!(reason(&node, vm), "DeviceNotChanged");
    assert_eq!(node.vm(vm).status.state, VmState::Running);
    node.fake.set(Mood::Good);
    node.settle(vm, seconds(20)).await;
    assert_eq!((reason(&node, vm).as_str(), plugged(&node, vm)), ("Running", vec![5]));
}
