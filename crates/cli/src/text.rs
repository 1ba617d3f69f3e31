//! Texts for a terminal: aligned tables, times, and nothing that a terminal would obey.

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::Value;

/// A text without control characters: each stands as its escape. What a pool or a log says could otherwise move the
/// cursor, rewrite what was shown before, or show its own words in another order.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if is_obeyed(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// Whether a terminal acts on the character instead of showing it: controls, and what turns the direction of writing
/// (UAX #9, table 1) or ends a line.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Rows of cells, written in aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    header: Option<&'static [&'static str]>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A list with a line of headings.
    pub(crate) fn list(header: &'static [&'static str], rows: Vec<Vec<String>>) -> Self {
        Self { header: Some(header), rows }
    }

    /// One thing, a line for each of its facts; facts without a value are left out.
    pub(crate) fn facts(facts: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        let row = |(name, value): (&str, Option<String>)| value.map(|value| vec![name.to_owned(), value]);
        Self { header: None, rows: facts.into_iter().filter_map(row).collect() }
    }

    /// Writes the columns, two spaces apart. Characters count as one column each.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let header = self.header.map(|cells| cells.iter().map(|cell| (*cell).to_owned()).collect());
        let lines: Vec<Vec<String>> = header
            .into_iter()
            .chain(self.rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()))
            .collect();
        let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column| lines.iter().filter_map(|line| line.get(column).map(|cell: &String| cell.chars().count())).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for line in &lines {
            let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A JSON value on several lines, for a terminal.
pub(crate) fn json(value: &Value) -> String {
    printable_json(&format!("{value:#}"))
}

/// JSON without control characters but line ends. JSON itself escapes the first 32; those above stand in texts only,
/// and are escaped here.
pub(crate) fn printable_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if is_obeyed(c) && c != '\n' {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    })
}

/// `2026-01-31T10:00:00Z` for seconds since 1970.
pub(crate) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Reads a time as `2026-01-31T10:00:00Z`, `2026-01-31` (its first second in UTC), or seconds since 1970.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let midnight = || format!("{text}T00:00:00Z").parse::<Timestamp>();
    text.parse::<Timestamp>()
        .or_else(|_| midnight())
        .map(Timestamp::as_second)
        .map_err(|_| "a time is written 2026-01-31T10:00:00Z, 2026-01-31 or in seconds since 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(table: &Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["größer".to_owned(), String::new()]];
        assert_eq!(written(&Table::list(&["NAME", "COUNT"], rows)), "NAME    COUNT\na       1\ngrößer\n");
    }

    #[test]
    fn facts_without_a_value_are_left_out() {
        let table = Table::facts([("Name", Some("a".to_owned())), ("Tags", None), ("Expires", Some("b".to_owned()))]);
        assert_eq!(written(&table), "Name     a\nExpires  b\n");
        assert_eq!(written(&Table::facts([])), "");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let rows = vec![vec!["\u{1b}]0;x\u{7}\r\n\u{85}".to_owned()]];
        assert_eq!(written(&Table::list(&["A"], rows)), "A\n\\u{1b}]0;x\\u{7}\\r\\n\\u{85}\n");
        let value = serde_json::json!({ "a": "\u{1b}\u{9b}ä" });
        let text = json(&value);
        assert_eq!(text, "{\n  \"a\": \"\\u001b\\u009bä\"\n}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn no_text_turns_the_direction_of_what_is_shown() {
        assert_eq!(printable("owner\u{202e}nimda\u{2066}"), "owner\\u{202e}nimda\\u{2066}");
        let value = serde_json::json!({ "tag": "\u{202e}\u{2028}\u{5d0}" });
        let text = json(&value);
        assert_eq!(text, "{\n  \"tag\": \"\\u202e\\u2028\u{5d0}\"\n}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn times_are_read_in_three_ways_and_written_in_one() {
        for text in ["2024-02-29T00:00:00Z", "2024-02-29", "1709164800", "2024-02-29T01:00:00+01:00"] {
            assert_eq!(parse_time(text), Ok(1_709_164_800), "{text}");
        }
        for bad in ["", "tomorrow", "2024-02-30", "2024-02-29T00:00:00"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
        assert_eq!(time(1_709_164_800), "2024-02-29T00:00:00Z");
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }
}
