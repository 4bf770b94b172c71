//! Loading the packet rules, and recognising them again.
//!
//! `nft` reads the whole set from its standard input and hands it to the kernel in one transaction. The
//! tables `inet skerry` and `bridge skerry` are ours; no other table is read or written.

use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use skerry_network::{MARK_PREFIX, RuleSet};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::NetError;

const NFT: &str = "/usr/sbin/nft";
const DEADLINE: Duration = Duration::from_secs(20);

/// The loaded rules.
#[derive(Debug, Default)]
pub struct Rules {
    /// The listing as it was after loading or at the first look: any other one has been changed by somebody.
    expected: Mutex<Option<Value>>,
}

impl Rules {
    /// Replaces the rules.
    pub async fn load(&self, rules: &RuleSet) -> Result<(), NetError> {
        self.expect(None);
        nft(&["-f", "-"], &rules.text).await?;
        self.expect(list().await?);
        Ok(())
    }

    /// The mark of the rules, if they are there and nobody changed them.
    pub async fn mark(&self) -> Result<Option<String>, NetError> {
        let Some(listing) = list().await? else {
            self.expect(None);
            return Ok(None);
        };
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        // The first look after a start adopts what an earlier process loaded.
        let expected = expected.get_or_insert_with(|| listing.clone());
        Ok((*expected == listing).then(|| mark_of(&listing)).flatten())
    }

    fn expect(&self, listing: Option<Value>) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = listing;
    }
}

/// Our tables as nft describes them, without counters; nothing if one is missing.
async fn list() -> Result<Option<Value>, NetError> {
    let (Some(node), Some(bridge)) = (table("inet").await?, table("bridge").await?) else {
        return Ok(None);
    };
    Ok(Some(Value::from(vec![node, bridge])))
}

async fn table(family: &str) -> Result<Option<Value>, NetError> {
    let text = match nft(&["-j", "-s", "list", "table", family, "skerry"], "").await {
        Ok(text) => text,
        Err(NetError::Program { output, .. }) if output.contains("No such file") => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(serde_json::from_str(&text).ok())
}

fn mark_of(listing: &Value) -> Option<String> {
    let tables = listing.as_array()?.iter();
    let objects = tables.filter_map(|table| table.get("nftables")?.as_array()).flatten();
    let mut chains = objects.filter_map(|o| o.get("chain")?.get("name")?.as_str());
    chains.find(|name| name.starts_with(MARK_PREFIX)).map(str::to_owned)
}

async fn nft(arguments: &[&str], input: &str) -> Result<String, NetError> {
    let start = |source| NetError::Start { program: NFT, source };
    let mut child = Command::new(NFT)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before reading everything says why by itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let stuck = NetError::Stuck { program: NFT, seconds: DEADLINE.as_secs() };
    let output =
        tokio::time::timeout(DEADLINE, child.wait_with_output()).await.map_err(|_| stuck)?;
    let output = output.map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(NetError::Program { program: NFT, output: said.trim().chars().take(400).collect() })
}
