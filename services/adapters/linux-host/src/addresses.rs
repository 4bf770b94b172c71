//! The Ethernet addresses that network cards were made with.
//!
//! `/sys` shows the address in use, which a bond or a setting may have changed; only netlink tells the card's own.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

/// Own addresses by device name; empty if the kernel does not tell.
pub(crate) async fn permanent() -> BTreeMap<String, String> {
    let (connection, handle, _) = match rtnetlink::new_connection() {
        Ok(parts) => parts,
        Err(error) => {
            tracing::warn!(%error, "the cards' own addresses cannot be read");
            return BTreeMap::new();
        }
    };
    let task = tokio::spawn(connection);
    let links: Result<Vec<LinkMessage>, _> = handle.link().get().execute().try_collect().await;
    task.abort();
    match links {
        Ok(links) => links.iter().filter_map(of_link).collect(),
        Err(error) => {
            tracing::warn!(%error, "the cards' own addresses cannot be read");
            BTreeMap::new()
        }
    }
}

fn of_link(link: &LinkMessage) -> Option<(String, String)> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let address = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::PermAddress(octets) => text(octets),
        _ => None,
    })?;
    Some((name, address))
}

/// An Ethernet address in lower case; `None` for other lengths and for the empty address.
fn text(octets: &[u8]) -> Option<String> {
    if octets.len() != 6 || octets.iter().all(|octet| *octet == 0) {
        return None;
    }
    let words: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    Some(words.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_gives_its_own_address() {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName("eth0".to_owned()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]),
            LinkAttribute::PermAddress(vec![0x3c, 0xfd, 0xfe, 0, 0, 0x0a]),
        ];
        let wanted = ("eth0".to_owned(), "3c:fd:fe:00:00:0a".to_owned());
        assert_eq!(of_link(&link), Some(wanted));
        link.attributes.pop();
        assert_eq!(of_link(&link), None);
        assert_eq!(text(&[0; 6]), None);
        assert_eq!(text(&[1; 20]), None, "InfiniBand");
    }
}
