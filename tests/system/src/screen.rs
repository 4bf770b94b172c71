//! The screen of a virtual machine, looked at and typed at as a VNC viewer does: RFB (RFC 6143) with raw pixels.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// 32 bits a point, least byte first: blue, green, red, nothing.
const PIXELS: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0];
const RAW: u32 = 0;
/// Not a picture but its new size.
const SIZE: u32 = 0xffff_ff21;

/// An open screen, with its picture as far as it has come.
pub struct Screen {
    stream: WebSocketStream<reqwest::Upgraded>,
    unread: Vec<u8>,
    /// Width and height.
    pub size: (usize, usize),
    /// What the machine calls itself.
    pub name: String,
    points: Vec<u8>,
}

impl Screen {
    /// Greets whoever is there.
    pub(crate) async fn greet(stream: WebSocketStream<reqwest::Upgraded>) -> anyhow::Result<Self> {
        let (size, name) = ((0, 0), String::new());
        let mut screen = Self { stream, unread: Vec::new(), size, name, points: Vec::new() };
        let version = screen.read(12).await?;
        ensure!(version == b"RFB 003.008\n", "{version:?} is no RFB 3.8");
        screen.say(version).await?;
        let count = screen.number(1).await?;
        let kinds = screen.read(count).await?;
        ensure!(kinds.contains(&1), "it wants a password: {kinds:?}");
        screen.say(vec![1]).await?;
        ensure!(screen.read(4).await? == [0; 4], "it lets nobody in");
        screen.say(vec![1]).await?;
        let (width, height) = (screen.number(2).await?, screen.number(2).await?);
        screen.resize(width, height);
        screen.read(PIXELS.len()).await?;
        let length = screen.number(4).await?;
        let name = screen.read(length).await?;
        screen.name = String::from_utf8_lossy(&name).into_owned();
        screen.say([&[0, 0, 0, 0][..], &PIXELS].concat()).await?;
        let encodings = [RAW.to_be_bytes(), SIZE.to_be_bytes()].concat();
        screen.say([&[2, 0, 0, 2][..], &encodings].concat()).await?;
        Ok(screen)
    }

    /// Presses a key and lets it go (keysyms of X).
    pub async fn key(&mut self, key: u32) -> anyhow::Result<()> {
        for down in [1, 0] {
            self.say([&[4, down, 0, 0][..], &key.to_be_bytes()].concat()).await?;
        }
        Ok(())
    }

    /// Looks until most of the picture has this colour: red, green, blue.
    pub async fn until(&mut self, colour: [u8; 3], limit: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + limit;
        self.ask(false).await?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match timeout(left, self.update()).await {
                Ok(updated) => updated?,
                Err(_) => bail!("most of the picture is not {colour:?} within {limit:?}"),
            }
            let [red, green, blue] = colour;
            let near = |point: &&[u8]| {
                // A display may round a little.
                point.iter().zip([blue, green, red]).all(|(is, wanted)| is.abs_diff(wanted) <= 4)
            };
            if self.points.chunks(4).filter(near).count() * 2 > self.size.0 * self.size.1 {
                return Ok(());
            }
            self.ask(true).await?;
        }
    }

    async fn ask(&mut self, incremental: bool) -> anyhow::Result<()> {
        let (width, height) = (u16::try_from(self.size.0)?, u16::try_from(self.size.1)?);
        let area = [[0; 2], [0; 2], width.to_be_bytes(), height.to_be_bytes()].concat();
        self.say([&[3, u8::from(incremental)][..], &area].concat()).await
    }

    /// Takes one message, which is a part of the picture or nothing of interest.
    async fn update(&mut self) -> anyhow::Result<()> {
        match self.number(1).await? {
            0 => {}
            2 => return Ok(()),
            other => bail!("message {other} is not expected"),
        }
        self.read(1).await?;
        for _ in 0..self.number(2).await? {
            let (x, y) = (self.number(2).await?, self.number(2).await?);
            let (width, height) = (self.number(2).await?, self.number(2).await?);
            match u32::try_from(self.number(4).await?)? {
                RAW => {
                    let points = self.read(width * height * 4).await?;
                    for (row, line) in points.chunks(width * 4).enumerate() {
                        let at = ((y + row) * self.size.0 + x) * 4;
                        let place = self.points.get_mut(at..at + line.len());
                        place.context("a part outside of the picture")?.copy_from_slice(line);
                    }
                }
                SIZE => {
                    self.resize(width, height);
                    self.ask(false).await?;
                }
                other => bail!("encoding {other} was not asked for"),
            }
        }
        Ok(())
    }

    fn resize(&mut self, width: usize, height: usize) {
        self.size = (width, height);
        self.points = vec![0; width * height * 4];
    }

    async fn say(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        Ok(self.stream.send(Message::Binary(bytes.into())).await?)
    }

    /// The next bytes, however they were cut on the way. Dropped, it loses none.
    async fn read(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        while self.unread.len() < count {
            match self.stream.next().await.context("the connection has ended")?? {
                Message::Binary(bytes) => self.unread.extend_from_slice(&bytes),
                Message::Close(frame) => bail!("closed with {frame:?}"),
                _ => {}
            }
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// The next bytes as a number.
    async fn number(&mut self, count: usize) -> anyhow::Result<usize> {
        let bytes = self.read(count).await?;
        Ok(bytes.into_iter().fold(0, |all, byte| all << 8 | usize::from(byte)))
    }
}
