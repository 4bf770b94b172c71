//! Claiming a node, opening and ending sessions.

use skerry_ipc::{Answer, Request};

use crate::args::Account;
use crate::shell::{Done, Failure, Shell};
use crate::transport::Session;

/// What the node's rate limit knows this program as.
const ORIGIN: &str = "cli";

pub(super) async fn claim(
    shell: &mut Shell<'_, '_>,
    code: Option<String>,
    account: Account,
) -> Done {
    let code = match code {
        Some(code) => code,
        None => claim_code(shell)?,
    };
    let password = password(shell, &account, true)?;
    let username = account.username;
    let origin = ORIGIN.to_owned();
    let request = Request::Claim { code, username, password, origin };
    open(shell, request, "The node is yours. Logged in as").await
}

pub(super) async fn login(shell: &mut Shell<'_, '_>, account: Account) -> Done {
    let password = password(shell, &account, false)?;
    let username = account.username;
    let (purpose, origin) = ("cli".to_owned(), ORIGIN.to_owned());
    open(shell, Request::Login { username, password, purpose, origin }, "Logged in as").await
}

async fn open(shell: &mut Shell<'_, '_>, request: Request, greeting: &str) -> Done {
    match shell.transport.call(request).await? {
        Answer::Session { token, username, .. } => {
            let session = Session { token, username };
            shell.transport.remember(&session).map_err(Failure::Outcome)?;
            shell.say(&format!("{greeting} {}.", session.username))
        }
        other => Err(shell.odd("a session", &other)),
    }
}

pub(super) async fn logout(shell: &mut Shell<'_, '_>) -> Done {
    let answer = shell.transport.call(Request::Logout).await;
    // The secret goes even if the node is away: nobody shall find it here.
    shell.transport.forget().map_err(Failure::Outcome)?;
    answer?;
    shell.say("Logged out.")
}

fn claim_code(shell: &Shell<'_, '_>) -> Result<String, Failure> {
    let code = shell.io.asker.line("Claim code, as the node's console shows it: ")?;
    code.map(|code| code.trim().to_owned()).filter(|code| !code.is_empty()).ok_or_else(|| {
        Failure::Usage("which code does the node's console show? Pass it with --code".to_owned())
    })
}

/// The password: from standard input, or asked for; twice if it is a new one.
fn password(shell: &Shell<'_, '_>, account: &Account, is_new: bool) -> Result<String, Failure> {
    let asker = shell.io.asker;
    let missing = || {
        Failure::Usage(
            "there is no terminal to ask for the password: pass it with --password-stdin"
                .to_owned(),
        )
    };
    if account.password_stdin {
        return asker.input()?.ok_or_else(missing);
    }
    let first =
        asker.secret(&format!("Password for {}: ", account.username))?.ok_or_else(missing)?;
    if is_new {
        let second = asker.secret("Once more: ")?.ok_or_else(missing)?;
        if first != second {
            return Err(Failure::Usage("the two passwords differ; nothing was sent".to_owned()));
        }
    }
    Ok(first)
}
