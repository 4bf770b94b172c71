//! Screens of simulated guests: a grey area, by RFB (RFC 6143) with raw pixels, whose shade is the last key that was
//! pressed. As much as a viewer needs to connect, draw and type.

use futures::stream::{self, StreamExt};
use skerry_compute::{GuestConnection, HypervisorError};
use skerry_model::{Id, Vm};
use tokio::sync::mpsc;

use crate::world::SimHost;

const VERSION: &[u8] = b"RFB 003.008\n";
const WIDTH: u16 = 64;
const HEIGHT: u16 = 48;
/// 32 bits a point, of which 24 count; true colour. Grey is the same in whatever order a viewer wants the colours.
const PIXELS: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];

impl SimHost {
    /// A viewer's connection with a guest's screen; `None` if it has none.
    pub(crate) async fn look_at(
        &self,
        vm: Id<Vm>,
    ) -> Result<Option<GuestConnection>, HypervisorError> {
        let failed = |message| HypervisorError::Failed { call: "screen", vm, message };
        let shown = self.step("Screen", |world| {
            let up = world.domains.get(&vm).is_some_and(|domain| domain.power.is_up());
            (up, world.displays.contains(&vm))
        });
        match shown.await.map_err(failed)? {
            (false, _) => Err(failed("it does not run".to_owned())),
            (true, false) => Ok(None),
            (true, true) => {
                let (input, inputs) = mpsc::channel::<Vec<u8>>(4);
                let talk =
                    stream::unfold((inputs, Talk::default()), |(mut inputs, mut talk)| async {
                        loop {
                            let Some(said) = inputs.recv().await else {
                                return std::future::pending().await;
                            };
                            let answer = talk.answer(&said);
                            if !answer.is_empty() {
                                return Some((Ok(answer), (inputs, talk)));
                            }
                        }
                    });
                let hello = stream::once(async { Ok(VERSION.to_vec()) });
                Ok(Some(GuestConnection { input, output: hello.chain(talk).boxed() }))
            }
        }
    }
}

#[derive(Default)]
enum Stage {
    #[default]
    Version,
    Security,
    Init,
    Messages,
}

/// What a viewer has said so far.
#[derive(Default)]
struct Talk {
    stage: Stage,
    unread: Vec<u8>,
    shade: u8,
    /// The picture is another than the viewer's.
    stale: bool,
    /// The viewer waits for the next picture.
    waits: bool,
}

impl Talk {
    fn answer(&mut self, said: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(said);
        let mut out = Vec::new();
        while let Some(length) = self.next_length().filter(|length| self.unread.len() >= *length) {
            let message: Vec<u8> = self.unread.drain(..length).collect();
            self.take(&message, &mut out);
        }
        out
    }

    /// How long the next message is, as far as what has come tells.
    fn next_length(&self) -> Option<usize> {
        let number = |at: usize, size: usize| {
            let bytes = self.unread.get(at..at.checked_add(size)?)?;
            Some(bytes.iter().fold(0_usize, |all, byte| all << 8 | usize::from(*byte)))
        };
        match self.stage {
            Stage::Version => Some(VERSION.len()),
            Stage::Security | Stage::Init => Some(1),
            Stage::Messages => match self.unread.first()? {
                0 => Some(20),
                2 => Some(number(2, 2)? * 4 + 4),
                3 => Some(10),
                4 => Some(8),
                5 => Some(6),
                6 => Some(number(4, 4)?.saturating_add(8)),
                // Nothing that it was offered: passed over byte by byte.
                _ => Some(1),
            },
        }
    }

    fn take(&mut self, message: &[u8], out: &mut Vec<u8>) {
        match self.stage {
            Stage::Version => {
                // One kind of security: none.
                out.extend([1, 1]);
                self.stage = Stage::Security;
            }
            Stage::Security => {
                out.extend([0; 4]);
                self.stage = Stage::Init;
            }
            Stage::Init => {
                out.extend(WIDTH.to_be_bytes());
                out.extend(HEIGHT.to_be_bytes());
                out.extend(PIXELS);
                out.extend([0, 0, 0, 3]);
                out.extend(b"sim");
                self.stage = Stage::Messages;
            }
            Stage::Messages => self.message(message, out),
        }
    }

    fn message(&mut self, message: &[u8], out: &mut Vec<u8>) {
        match message {
            [3, incremental, ..] => {
                self.waits = true;
                self.stale |= *incremental == 0;
            }
            [4, 1, .., key] => {
                self.shade = *key;
                self.stale = true;
            }
            _ => {}
        }
        if self.waits && self.stale {
            (self.waits, self.stale) = (false, false);
            out.extend([0, 0, 0, 1, 0, 0, 0, 0]);
            out.extend(WIDTH.to_be_bytes());
            out.extend(HEIGHT.to_be_bytes());
            out.extend([0; 4]);
            let point = [self.shade, self.shade, self.shade, 0];
            let points = usize::from(WIDTH) * usize::from(HEIGHT);
            out.extend(point.iter().cycle().take(points * point.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_gets_a_picture_and_the_next_when_a_key_is_pressed() {
        let mut talk = Talk::default();
        assert_eq!(talk.answer(b"RFB 003."), b"");
        assert_eq!(talk.answer(b"008\n"), [1, 1]);
        assert_eq!(talk.answer(&[1]), [0; 4]);
        assert_eq!(talk.answer(&[1])[..4], [0, 64, 0, 48]);
        let encodings = [2, 0, 0, 1, 0, 0, 0, 0];
        let ask = |incremental| [3, incremental, 0, 0, 0, 0, 0, 64, 0, 48];
        let first = talk.answer(&[&encodings[..], &ask(0)].concat());
        assert_eq!(first.len(), 16 + 64 * 48 * 4);
        assert_eq!(talk.answer(&ask(1)), b"", "nothing has changed");
        let next = talk.answer(&[4, 1, 0, 0, 0, 0, 0, b'z']);
        assert_eq!(next[16..20], [b'z', b'z', b'z', 0]);
        assert_eq!(talk.answer(&[6, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']), b"");
    }
}
