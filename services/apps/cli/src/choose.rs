//! Which node is meant, and whether it can be trusted.

use std::path::{Path, PathBuf};

use crate::args::{Account, Arguments, Verb};
use crate::fingerprint::Fingerprint;
use crate::https::{Https, node_url};
use crate::io::Asker;
use crate::local::{Local, SOCKET};
use crate::nodes::{Nodes, NodesError};
use crate::shell::Failure;
use crate::transport::{CallError, Transport};

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Socket(PathBuf),
    Url(String),
}

/// Picks the node that the words, the environment and the last login mean.
///
/// For `claim` and `login` a node that is not known yet can be vouched for: by `--fingerprint`, or by a person who
/// compares what it shows with its console.
pub async fn choose(
    arguments: &Arguments,
    variable: &(dyn Fn(&str) -> Option<String> + Sync),
    asker: &dyn Asker,
) -> Result<Box<dyn Transport>, Failure> {
    let nodes = match Nodes::of_user(variable) {
        Ok(nodes) => Some(nodes),
        Err(NodesError::NoHome) => None,
        Err(error) => return Err(usage(&error)),
    };
    let token = variable("SKERRY_TOKEN").filter(|token| !token.is_empty());
    match place(arguments, variable, nodes.as_ref(), Path::new(SOCKET))? {
        Place::Socket(path) => {
            let known = match &nodes {
                Some(nodes) => {
                    nodes.find(&path.display().to_string()).map_err(|e| usage(&e))?.token
                }
                None => None,
            };
            Ok(Box::new(Local::new(&path, "skerry", token.or(known), nodes)))
        }
        Place::Url(url) => over_https(arguments, &url, token, variable, nodes, asker).await,
    }
}

fn usage(error: &dyn std::error::Error) -> Failure {
    Failure::Usage(error.to_string())
}

fn place(
    arguments: &Arguments,
    variable: &(dyn Fn(&str) -> Option<String> + Sync),
    nodes: Option<&Nodes>,
    socket: &Path,
) -> Result<Place, Failure> {
    let global = &arguments.global;
    let url = |text: &str| match node_url(text) {
        Ok(url) => Ok(Place::Url(url.as_str().trim_end_matches('/').to_owned())),
        Err(error) => Err(Failure::Usage(error)),
    };
    if let Some(path) = &global.socket {
        return Ok(Place::Socket(path.clone()));
    }
    if let Some(node) = &global.node {
        return url(node);
    }
    if let Some(node) = variable("SKERRY_URL").filter(|node| !node.is_empty()) {
        return url(&node);
    }
    if socket.exists() {
        return Ok(Place::Socket(socket.to_owned()));
    }
    let last = match nodes {
        Some(nodes) => nodes.last().map_err(|error| usage(&error))?,
        None => None,
    };
    match last {
        Some(node) if node.starts_with('/') => Ok(Place::Socket(PathBuf::from(node))),
        Some(node) => url(&node),
        None => Err(Failure::Usage(
            "which node? Give its address with --node https://… (the node's console shows it) or in SKERRY_URL"
                .to_owned(),
        )),
    }
}

async fn over_https(
    arguments: &Arguments,
    url: &str,
    token: Option<String>,
    variable: &(dyn Fn(&str) -> Option<String> + Sync),
    nodes: Option<Nodes>,
    asker: &dyn Asker,
) -> Result<Box<dyn Transport>, Failure> {
    let known = match &nodes {
        Some(nodes) => nodes.find(url).map_err(|error| usage(&error))?,
        None => crate::nodes::KnownNode::default(),
    };
    let given = arguments.global.fingerprint.clone().or_else(|| variable("SKERRY_FINGERPRINT"));
    let expected = match given.or(known.fingerprint) {
        Some(text) => Some(text.parse::<Fingerprint>().map_err(|error| usage(&error))?),
        None => match &arguments.verb {
            Verb::Claim { account, .. } | Verb::Login { account } => {
                Some(vouch(url, account, asker).await?)
            }
            _ => None,
        },
    };
    Ok(Box::new(Https::new(url, expected, token.or(known.token), nodes)?))
}

/// Lets a person compare what the node shows with its console.
async fn vouch(url: &str, account: &Account, asker: &dyn Asker) -> Result<Fingerprint, Failure> {
    let shown = Https::shown(url).await?;
    if account.accept_new {
        return Ok(shown);
    }
    let question = format!(
        "The node at {url} is not known yet. It shows the certificate\n  {shown}\n\
         Does the node's console show the same? Type `yes` to go on: "
    );
    let refused = |detail: String| Failure::Call(CallError::Untrusted { detail });
    match asker.line(&question)? {
        Some(answer) if answer.trim() == "yes" => Ok(shown),
        Some(_) => Err(refused("the certificate was not confirmed; nothing was sent".to_owned())),
        None => Err(refused(format!(
            "the node at {url} is not known yet. It shows the certificate\n  {shown}\n\
             If its console shows the same, add --fingerprint {shown}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn chosen(line: &str, variable: Option<&str>, socket: &Path) -> Result<Place, u8> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let variable = variable.map(str::to_owned);
        let read = move |name: &str| variable.clone().filter(|_| name == "SKERRY_URL");
        place(&parse(&words).unwrap(), &read, None, socket).map_err(|failure| failure.exit_code())
    }

    #[test]
    fn words_come_before_the_environment_and_that_before_the_socket() {
        let nowhere = Path::new("/nowhere");
        let here = Path::new("/");
        let url = |text: &str| Ok(Place::Url(text.to_owned()));
        assert_eq!(
            chosen("status --node 10.0.2.15", Some("https://b"), here),
            url("https://10.0.2.15")
        );
        assert_eq!(chosen("status", Some("https://b:8443/x?y"), here), url("https://b:8443"));
        assert_eq!(chosen("status", None, here), Ok(Place::Socket(PathBuf::from("/"))));
        assert_eq!(
            chosen("status --socket /s", Some("https://b"), here),
            Ok(Place::Socket(PathBuf::from("/s")))
        );
        assert_eq!(chosen("status", None, nowhere), Err(crate::exit::USAGE));
        for bad in ["http://a", "https://u:p@a", "https://", "file:///etc"] {
            assert_eq!(chosen("status", Some(bad), nowhere), Err(crate::exit::USAGE), "{bad}");
        }
    }
}
