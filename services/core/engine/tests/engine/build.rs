//! What an engine is made of.

use std::sync::Arc;

use skerry_engine::{BuildError, Engine};
use skerry_model::Kind;
use skerry_store::Store;

use crate::support::Scripted;

fn controller(name: &'static str, writes: &'static [Kind]) -> Arc<Scripted> {
    let mut made = Scripted::new(&Store::in_memory());
    (made.name, made.writes) = (name, writes);
    Arc::new(made)
}

#[tokio::test]
async fn two_writers_of_one_kind_are_refused_by_name() {
    let error = Engine::builder(Store::in_memory())
        .controller(controller("network", &[Kind::Network, Kind::Port]))
        .controller(controller("compute", &[Kind::Vm, Kind::Port]))
        .build()
        .err();
    let expected = BuildError::TwoWriters { kind: Kind::Port, first: "network", second: "compute" };
    assert_eq!(error, Some(expected));
}

#[tokio::test]
async fn two_of_one_name_and_no_concurrency_are_refused() {
    let twice = Engine::builder(Store::in_memory())
        .controller(controller("same", &[Kind::Vm]))
        .controller(controller("same", &[Kind::Pod]))
        .build()
        .err();
    assert_eq!(twice, Some(BuildError::TwoOfOneName { name: "same" }));
    let none = Engine::builder(Store::in_memory()).concurrency(0).build().err();
    assert_eq!(none, Some(BuildError::NoConcurrency));
}

#[tokio::test]
async fn the_graph_shows_who_watches_and_who_writes() {
    let engine = Engine::builder(Store::in_memory())
        .controller(controller("compute", &[Kind::Vm]))
        .build()
        .unwrap();
    let expected = "digraph controllers {\n  rankdir=LR;\n  \"Vm\" [shape=box];\n  \"Job\" [shape=box];\n  \"compute\" [shape=ellipse];\n  \"Job\" -> \"compute\";\n  \"compute\" -> \"Vm\" [style=bold];\n}\n";
    assert_eq!(engine.handle().graph_dot(), expected);
}
