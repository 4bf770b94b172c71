//! What a guest learns about itself when it starts: the data of cloud-init.

use serde::{Deserialize, Serialize};

use crate::{Hidden, Invalid};

/// Most bytes of one machine's data in all.
const MOST_BYTES: usize = 64 * 1024;

/// Most SSH keys.
const MOST_KEYS: usize = 64;

/// Longest password.
const LONGEST_PASSWORD: usize = 256;

/// How user-data may begin (cloud-init: user-data formats). `#!` is a script.
const BEGINNINGS: &[&str] = &[
    "#cloud-config\n",
    "#cloud-config-archive\n",
    "#cloud-boothook\n",
    "#include\n",
    "#include-once\n",
    "## template: jinja\n",
    "#!",
    "content-type: ",
    "mime-version: ",
];

/// Data for cloud-init, which finds it on a small disk with the label `CIDATA` (its data source NoCloud).
/// A change reaches the guest at its next start; cloud-init then takes the machine for a new one, and does
/// again what it does once for each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct VmInit {
    /// User-data: `#cloud-config`, a script, or MIME. At most 64 KiB together with the rest. It goes in and is
    /// never shown; left out in a change, what was there stays; empty, it is removed.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub user_data: Option<Hidden>,
    /// Network configuration of version 1 or 2, in YAML; by DHCP if absent.
    pub network_data: Option<String>,
    /// Public keys for the account that the image makes for whoever configures it.
    pub ssh_keys: Vec<String>,
    /// Host name; the machine's own name if absent.
    pub hostname: Option<String>,
    /// Password for the account that the image makes, or the hash of one as in `/etc/shadow`. A password is kept
    /// as a hash. It goes in and is never shown; left out in a change, it stays; empty, it is removed.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub password: Option<Hidden>,
    /// Whether the guest also gets its data when it asks at <http://169.254.169.254>, as in clouds. Any program in the
    /// guest may ask there, so user-data that holds secrets is safer without it. The password is not told there. Takes
    /// effect at once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub metadata: bool,
}

impl VmInit {
    /// Takes over what a caller cannot repeat, since he was never shown it.
    pub fn keep_hidden(&mut self, before: Option<&Self>) {
        let kept = |new: Option<Hidden>, old: Option<&Hidden>| match new {
            None => old.cloned(),
            Some(new) if new.reveal().is_empty() => None,
            new => new,
        };
        self.user_data = kept(self.user_data.take(), before.and_then(|b| b.user_data.as_ref()));
        self.password = kept(self.password.take(), before.and_then(|b| b.password.as_ref()));
    }

    /// The user-data if it is cloud-config, which has to be YAML.
    pub fn cloud_config(&self) -> Option<&str> {
        let text = self.user_data.as_ref()?.reveal();
        text.replace("\r\n", "\n").starts_with("#cloud-config\n").then_some(text)
    }

    /// Whether the password is the hash of one already.
    pub fn password_is_hash(&self) -> bool {
        let password = self.password.as_ref().map(Hidden::reveal).unwrap_or_default();
        let mut parts = password.split('$');
        parts.next() == Some("")
            && matches!(parts.next(), Some("5" | "6" | "y" | "2a" | "2b" | "2y"))
            && parts.next().is_some_and(|part| !part.is_empty())
            && parts.next().is_some_and(|part| !part.is_empty())
    }

    pub(crate) fn validate(&self, found: &mut Invalid) {
        let user_data = self.user_data.as_ref().map(Hidden::reveal).unwrap_or_default();
        let network = self.network_data.as_deref().unwrap_or_default();
        let keys = self.ssh_keys.iter().map(String::len).sum::<usize>();
        let bytes = user_data.len().saturating_add(network.len()).saturating_add(keys);
        if bytes > MOST_BYTES {
            found.add("spec.init", format!("has {bytes} bytes; at most {MOST_BYTES}"));
        }
        if !user_data.is_empty() && !begins_well(user_data) {
            let message = "must begin with #cloud-config, with #! or with another mark that \
                           cloud-init knows, or be a MIME message";
            found.add("spec.init.user_data", message);
        }
        found.require(self.ssh_keys.len() <= MOST_KEYS, "spec.init.ssh_keys", "at most 64");
        for (index, key) in self.ssh_keys.iter().enumerate() {
            if !is_public_key(key) {
                let message = "must be one line such as `ssh-ed25519 AAAA… name`";
                found.add(format!("spec.init.ssh_keys[{index}]"), message);
            }
        }
        if let Some(name) = &self.hostname {
            let message = "must be a host name: letters, digits, hyphens and dots";
            found.require(is_host_name(name), "spec.init.hostname", message);
        }
        let password = self.password.as_ref().map(Hidden::reveal).unwrap_or_default();
        let sound = password.len() <= LONGEST_PASSWORD && !password.chars().any(char::is_control);
        let message = "at most 256 bytes, without control characters";
        found.require(sound, "spec.init.password", message);
    }
}

fn begins_well(text: &str) -> bool {
    let first: String = text.chars().take(64).collect();
    let first = first.replace("\r\n", "\n").to_ascii_lowercase();
    // A first line may be all there is.
    let first = format!("{first}\n");
    BEGINNINGS.iter().any(|begin| first.starts_with(begin))
}

fn is_public_key(key: &str) -> bool {
    let kinds = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];
    let mut words = key.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let body = words.next().unwrap_or_default();
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    !key.chars().any(char::is_control)
        && kinds.iter().any(|known| kind.starts_with(known))
        && body.len() >= 16
        && body.chars().all(base64)
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(init: &VmInit) -> Vec<String> {
        let mut found = Invalid::default();
        init.validate(&mut found);
        found.violations().iter().map(|v| v.field.clone()).collect()
    }

    fn user_data(text: &str) -> VmInit {
        VmInit { user_data: Some(Hidden::new(text)), ..VmInit::default() }
    }

    #[test]
    fn user_data_says_what_it_is() {
        for good in [
            "#cloud-config\nusers: []\n",
            "#cloud-config\r\nusers: []\r\n",
            "#cloud-config",
            "#!/bin/sh\necho hello\n",
            "Content-Type: multipart/mixed; boundary=\"=\"\nMIME-Version: 1.0\n\n",
            "MIME-Version: 1.0\nContent-Type: text/cloud-config\n\n",
            "## template: jinja\n#cloud-config\n",
            "",
        ] {
            assert_eq!(faults(&user_data(good)), Vec::<String>::new(), "{good}");
        }
        for bad in ["users: []\n", " #cloud-config\n", "#cloud-configuration\n", "# !/bin/sh\n"] {
            assert_eq!(faults(&user_data(bad)), ["spec.init.user_data"], "{bad}");
        }
        let long = format!("#!/bin/sh\n{}", "#".repeat(MOST_BYTES));
        assert_eq!(faults(&user_data(&long)), ["spec.init"]);
    }

    #[test]
    fn keys_names_and_passwords_are_checked() {
        let key = format!("ssh-ed25519 {} ada@desk", "A".repeat(68));
        let good = VmInit {
            ssh_keys: vec![key.clone()],
            hostname: Some("db-1.lab.example".to_owned()),
            password: Some(Hidden::new("swordfish")),
            ..VmInit::default()
        };
        assert_eq!(faults(&good), Vec::<String>::new());
        let bad = VmInit {
            ssh_keys: vec![format!("{key}\nssh-rsa AAAA"), "hello".to_owned()],
            hostname: Some("-a".to_owned()),
            password: Some(Hidden::new("a\nb")),
            ..VmInit::default()
        };
        let fields = ["ssh_keys[0]", "ssh_keys[1]", "hostname", "password"];
        assert_eq!(faults(&bad), fields.map(|field| format!("spec.init.{field}")));
    }

    #[test]
    fn hashes_are_told_from_passwords() {
        let is_hash = |text: &str| {
            VmInit { password: Some(Hidden::new(text)), ..VmInit::default() }.password_is_hash()
        };
        assert!(is_hash("$6$salt$hash") && is_hash("$6$rounds=9000$salt$hash"));
        assert!(is_hash("$y$j9T$salt$hash"));
        for plain in ["swordfish", "$6$", "$6$salt", "$9$salt$hash", "a$6$salt$hash"] {
            assert!(!is_hash(plain), "{plain}");
        }
    }

    #[test]
    fn what_is_not_shown_is_kept_unless_it_is_replaced_or_emptied() {
        let before = VmInit { password: Some(Hidden::new("$6$a$b")), ..user_data("#!/bin/sh\n") };
        let mut same = VmInit::default();
        same.keep_hidden(Some(&before));
        assert_eq!(same, before);
        let mut changed = VmInit { password: Some(Hidden::new("")), ..user_data("#!/bin/ash\n") };
        changed.keep_hidden(Some(&before));
        assert_eq!(changed, user_data("#!/bin/ash\n"));
        assert!(!format!("{before:?}").contains("/bin/sh"), "it must not show up in a log");
    }
}
