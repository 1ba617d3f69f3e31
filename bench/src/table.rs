//! The table, as it stands in the README.

use std::fmt::Write;
use std::time::Duration;

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// The ratio is at least this.
    AtLeast(f64),
    /// The ratio is at most this.
    AtMost(f64),
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) ours: String,
    pub(crate) reference: String,
    /// Ours to the reference, or to what the reference allows.
    pub(crate) ratio: f64,
    pub(crate) bar: Bar,
    /// Whether the bar is stated for what was measured, and not for more.
    pub(crate) judged: bool,
}

impl Row {
    fn reached(&self) -> bool {
        match self.bar {
            Bar::AtLeast(bar) => self.ratio >= bar,
            Bar::AtMost(bar) => self.ratio <= bar,
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.judged, self.reached()) {
            (false, _) => "not judged",
            (true, true) => "yes",
            (true, false) => "**no**",
        }
    }
}

/// All figures, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Table {
    /// Adds a figure, and says it on standard error.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{}: {} : {} ({:.3}) {}", row.figure, row.ours, row.reference, row.ratio, row.verdict());
        self.rows.push(row);
    }

    /// Adds a sentence below the table.
    pub(crate) fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.notes.push(note);
    }

    /// Whether a bar was missed.
    pub(crate) fn missed(&self) -> bool {
        self.rows.iter().any(|row| row.judged && !row.reached())
    }

    /// The whole as Markdown.
    pub(crate) fn markdown(&self, machine: &str, took: Duration) -> String {
        let mut text =
            String::from("| figure | ours | reference | ratio | bar | reached |\n|---|---:|---:|---:|---:|---|\n");
        for row in &self.rows {
            let bar = match row.bar {
                Bar::AtLeast(bar) => format!("≥ {bar:.2}"),
                Bar::AtMost(bar) => format!("≤ {bar:.2}"),
            };
            let Row { figure, ours, reference, ratio, .. } = row;
            // Writing to a string does not fail.
            let _ = writeln!(text, "| {figure} | {ours} | {reference} | {ratio:.2} | {bar} | {} |", row.verdict());
        }
        let _ = writeln!(text, "\nMachine: {machine}. The run took {:.0} s.", took.as_secs_f64());
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

/// A rate, for the table.
pub(crate) fn rate(rate: f64) -> String {
    format!("{rate:.0}/s")
}

/// A short time, for the table.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: f64, bar: Bar, judged: bool) -> Row {
        Row { figure: "f".into(), ours: "1".into(), reference: "2".into(), ratio, bar, judged }
    }

    #[test]
    fn only_judged_figures_below_their_bar_are_missed() {
        let mut table = Table::default();
        table.add(row(0.90, Bar::AtLeast(0.90), true));
        table.add(row(1.00, Bar::AtMost(1.0), true));
        table.add(row(0.10, Bar::AtLeast(0.90), false));
        assert!(!table.missed());
        table.add(row(0.89, Bar::AtLeast(0.90), true));
        assert!(table.missed());
        let text = table.markdown("m", Duration::ZERO);
        assert!(text.contains("| f | 1 | 2 | 0.89 | ≥ 0.90 | **no** |"), "{text}");
        assert!(text.contains("| f | 1 | 2 | 0.10 | ≥ 0.90 | not judged |"), "{text}");
    }
}
