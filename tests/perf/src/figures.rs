//! The table: what was measured, what was aimed at, and under which conditions.

use std::fmt;

use crate::host::Host;

/// One line of the table.
pub struct Figure {
    what: String,
    aim: String,
    measured: String,
    verdict: &'static str,
    remark: String,
}

impl Figure {
    /// A figure without an aim.
    pub fn new(what: &str, measured: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            aim: String::new(),
            measured: measured.into(),
            verdict: "",
            remark: String::new(),
        }
    }

    /// A figure that should be at most `aim`; both in the unit that is printed.
    pub fn at_most(what: &str, value: f64, aim: f64, unit: &str) -> Self {
        Self {
            aim: format!("≤ {} {unit}", (aim * 100.0).round() / 100.0),
            verdict: if value <= aim { "met" } else { "missed" },
            ..Self::new(what, format!("{value:.1} {unit}"))
        }
    }

    /// A figure that could not be taken.
    pub fn missing(what: &str, aim: &str, why: &anyhow::Error) -> Self {
        let why = format!("{why:#}").replace('|', "/").replace('\n', " ");
        eprintln!("   {what}: {why}");
        let short: String = why.chars().take(200).collect();
        Self { aim: aim.into(), ..Self::new(what, "not measured") }.remark(short)
    }

    /// What one must know to read the figure.
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }
}

/// Times and sizes with the machine they were taken on.
pub struct Figures {
    host: Host,
    lines: Vec<Figure>,
    notes: Vec<String>,
}

impl Figures {
    /// An empty table.
    pub const fn new(host: Host) -> Self {
        Self { host, lines: Vec::new(), notes: Vec::new() }
    }

    /// Adds a line, and shows it on the other output: the table comes only at the end.
    pub fn add(&mut self, figure: Figure) {
        eprintln!("   {}: {}", figure.what, figure.measured);
        self.lines.push(figure);
    }

    /// Adds a paragraph below the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.host)?;
        writeln!(f, "| figure | aim | measured | | remark |\n|---|---|---|---|---|")?;
        for line in &self.lines {
            let Figure { what, aim, measured, verdict, remark } = line;
            writeln!(f, "| {what} | {aim} | {measured} | {verdict} | {remark} |")?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}
