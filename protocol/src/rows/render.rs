//! From bytes to what is drawn: plain text with spans of style, and beside it where links lead ([`super::link`]). Whatever else a
//! line tries to do to a terminal (move the cursor, set titles) is left out, so that a hostile line is only text.

use super::derive::{RowFact, RowKind, RowSink};
use super::line::{Line, RENDERED_BYTES};
use super::link::{Link, address_of};
use super::markup::{self, Markup};
use crate::record::Level;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use vte::{Params, Parser, Perform};

/// A run of text in one style: begin and end in UTF-16 code units, then the style's tokens:
/// `fgN`, `bgN` (0-255), `fg#rrggbb`, `bg#rrggbb`, `bold`, `dim`, `italic`, `underline`, `strike`,
/// `reverse`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Span(pub u32, pub u32, pub String);

/// A row as a viewer gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Row {
    /// From 0.
    pub row: u64,
    /// The record that it begins in; what links use.
    pub seq: u64,
    /// Wall time by the console's clock, microseconds since the Unix epoch.
    pub at: i64,
    /// The console's boot-time clock, microseconds.
    pub boot_us: u64,
    pub kind: RowKind,
    pub level: Level,
    /// The index of its phase.
    pub phase: Option<u32>,
    pub step: Option<String>,
    /// Plain text, without control characters.
    pub text: String,
    pub spans: Vec<Span>,
    /// In order; left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The line is longer than what is shown.
    pub truncated: bool,
    /// The line has not ended yet.
    pub open: bool,
    /// Its bytes in the stream.
    pub bytes: u64,
}

/// Collects the rows of a range, rendered. Feed it through a [`super::RowDeriver`] that was restored
/// at or before the range's first row.
#[derive(Debug)]
pub struct RowRenderer {
    wanted: Range<u64>,
    /// The row whose bytes are being collected.
    current: Option<u64>,
    line: Line,
    text: Option<String>,
    parser: Painter,
    rows: Vec<Row>,
}

impl Row {
    /// Bytes of what is shown and where it leads; a little more as JSON.
    pub fn shown_bytes(&self) -> usize {
        self.text.len() + self.links.iter().map(|link| link.2.len()).sum::<usize>()
    }
}

impl RowRenderer {
    /// Rows of `wanted` only.
    pub fn new(wanted: Range<u64>) -> Self {
        Self {
            wanted,
            current: None,
            line: Line::new(RENDERED_BYTES),
            text: None,
            parser: Painter::default(),
            rows: Vec::new(),
        }
    }

    /// Every row of the range that ended is here.
    pub fn is_complete(&self) -> bool {
        self.rows.last().is_some_and(|last| last.row + 1 >= self.wanted.end && !last.open)
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Takes the rows that ended since the last call and goes on collecting.
    pub fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }
}

impl RowSink for RowRenderer {
    fn begin(&mut self, row: u64) {
        self.current = self.wanted.contains(&row).then_some(row);
        self.line.clear();
        self.text = None;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.current.is_some() {
            self.line.push(bytes);
        }
    }

    fn text(&mut self, text: &str) {
        if self.current.is_some() {
            self.text = Some(text.to_owned());
        }
    }

    fn row(&mut self, fact: &RowFact, step: Option<&str>) {
        if self.current != Some(fact.row) {
            return;
        }
        let (bytes, truncated) = match &self.text {
            Some(text) => (text.as_bytes(), text.len() > RENDERED_BYTES),
            None => self.line.visible(),
        };
        let bytes = &bytes[..bytes.len().min(RENDERED_BYTES)];
        let Painted { mut text, mut spans, mut links } = self.parser.paint(bytes);
        if self.text.is_none() {
            unmark(fact, &mut text, &mut spans, &mut links);
        }
        self.rows.push(Row {
            row: fact.row,
            seq: fact.seq,
            at: fact.at_us,
            boot_us: fact.boot_us,
            kind: fact.kind,
            level: fact.level,
            phase: fact.phase,
            step: step.map(str::to_owned),
            text,
            spans,
            links,
            truncated,
            open: fact.open,
            bytes: fact.bytes,
        });
        if !fact.open {
            self.current = None;
        }
    }
}

/// Whether a line's bytes (without its end) are what is shown of it: nothing in them is interpreted, left out or cut.
pub fn is_plain(line: &[u8]) -> bool {
    // Eight bytes at a time: most lines of most logs are nothing but printable ASCII.
    let printable = line.iter().fold(true, |all, &byte| all & (byte.wrapping_sub(0x20) < 0x5f));
    let marked = matches!(line.first(), Some(b':' | b'-' | b'+' | b'~'));
    if printable && !marked && line.len() <= RENDERED_BYTES {
        return true;
    }
    if line.len() > RENDERED_BYTES {
        return false;
    }
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let interpreted = text.chars().any(char::is_control) || marked && markup::read(text).is_some();
    !interpreted
}

/// The text that is shown of one row; what [`RowRenderer`] makes of it.
#[derive(Debug)]
pub struct TextOf(RowRenderer);

impl Default for TextOf {
    fn default() -> Self {
        Self(RowRenderer::new(0..1))
    }
}

impl TextOf {
    /// Of a line's bytes without its end, in the pieces in which the deriver saw them.
    pub fn line<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        kind: RowKind,
        level: Level,
    ) -> String {
        self.0.begin(0);
        for piece in pieces {
            self.0.bytes(piece);
        }
        self.shown(kind, level)
    }

    /// Of an event's row.
    pub fn event(&mut self, text: &str, kind: RowKind, level: Level) -> String {
        self.0.begin(0);
        self.0.text(text);
        self.shown(kind, level)
    }

    fn shown(&mut self, kind: RowKind, level: Level) -> String {
        let fact = RowFact {
            row: 0,
            seq: 0,
            boot_us: 0,
            at_us: 0,
            kind,
            level,
            phase: None,
            blank: false,
            bytes: 0,
            open: false,
        };
        self.0.row(&fact, None);
        self.0.rows.pop().map(|row| row.text).unwrap_or_default()
    }
}

/// Shows what markup means instead of the markup: the phase's name, the message's text.
fn unmark(fact: &RowFact, text: &mut String, spans: &mut Vec<Span>, links: &mut Vec<Link>) {
    let shown = match markup::read(text) {
        Some(Markup::Phase(name) | Markup::Group(name)) if fact.kind == RowKind::Phase => name,
        Some(Markup::Message(level, message)) if level == fact.level || level == Level::Debug => {
            message
        }
        _ => return,
    };
    // It stands in the text: colours go, but where its words lead is still told.
    let utf16 = |text: &str| text.encode_utf16().count() as u32;
    let before = utf16(&text[..shown.as_ptr() as usize - text.as_ptr() as usize]);
    let length = utf16(shown);
    for link in links.iter_mut() {
        let within = |at: u32| at.saturating_sub(before).min(length);
        (link.0, link.1) = (within(link.0), within(link.1));
    }
    links.retain(|link| link.0 < link.1);
    spans.clear();
    *text = shown.to_owned();
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Colour {
    #[default]
    Default,
    Indexed(u8),
    Rgb(u8, u8, u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    foreground: Colour,
    background: Colour,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    strike: bool,
    reverse: bool,
}

impl Style {
    fn tokens(self) -> String {
        let mut out = Vec::new();
        for (side, colour) in [("fg", self.foreground), ("bg", self.background)] {
            match colour {
                Colour::Default => {}
                Colour::Indexed(index) => out.push(format!("{side}{index}")),
                Colour::Rgb(r, g, b) => out.push(format!("{side}#{r:02x}{g:02x}{b:02x}")),
            }
        }
        for (name, set) in [
            ("bold", self.bold),
            ("dim", self.dim),
            ("italic", self.italic),
            ("underline", self.underline),
            ("strike", self.strike),
            ("reverse", self.reverse),
        ] {
            if set {
                out.push(name.to_owned());
            }
        }
        out.join(" ")
    }

    /// Select graphic rendition.
    fn apply(&mut self, params: &Params) {
        let mut params = params.iter();
        while let Some(param) = params.next() {
            match param[0] {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underline = param.get(1) != Some(&0),
                7 => self.reverse = true,
                9 => self.strike = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                27 => self.reverse = false,
                29 => self.strike = false,
                code @ 30..=37 => self.foreground = Colour::Indexed((code - 30) as u8),
                code @ 40..=47 => self.background = Colour::Indexed((code - 40) as u8),
                code @ 90..=97 => self.foreground = Colour::Indexed((code - 82) as u8),
                code @ 100..=107 => self.background = Colour::Indexed((code - 92) as u8),
                39 => self.foreground = Colour::Default,
                49 => self.background = Colour::Default,
                code @ (38 | 48) => {
                    let colour = if param.len() > 1 {
                        // 38:5:n and 38:2:[space]:r:g:b
                        extended(&mut param[1..].iter().copied(), param.len() > 5)
                    } else {
                        extended(&mut params.by_ref().map(|p| p[0]), false)
                    };
                    match colour {
                        Some(colour) if code == 38 => self.foreground = colour,
                        Some(colour) => self.background = colour,
                        None => {}
                    }
                }
                _ => {}
            }
        }
    }
}

fn extended(values: &mut impl Iterator<Item = u16>, colour_space: bool) -> Option<Colour> {
    let byte = |values: &mut dyn Iterator<Item = u16>| {
        values.next().and_then(|value| u8::try_from(value).ok())
    };
    match values.next()? {
        5 => byte(values).map(Colour::Indexed),
        2 => {
            if colour_space {
                values.next();
            }
            Some(Colour::Rgb(byte(values)?, byte(values)?, byte(values)?))
        }
        _ => None,
    }
}

/// What a line's bytes show.
#[derive(Debug, Default)]
struct Painted {
    text: String,
    spans: Vec<Span>,
    links: Vec<Link>,
}

/// Turns bytes into text, spans and links.
#[derive(Debug, Default)]
struct Painter {
    painted: Painted,
    utf16: u32,
    style: Style,
    /// Where the current style began.
    since: u32,
    /// Where what is printed leads; empty where it leads nowhere.
    address: String,
    /// Where the current link, or what is none, began.
    linked_since: u32,
}

impl Painter {
    fn paint(&mut self, bytes: &[u8]) -> Painted {
        *self = Self::default();
        Parser::new().advance(self, bytes);
        self.restyle(Style::default());
        self.relink(String::new());
        std::mem::take(&mut self.painted)
    }

    fn restyle(&mut self, style: Style) {
        if style == self.style {
            return;
        }
        if self.style != Style::default() && self.utf16 > self.since {
            self.painted.spans.push(Span(self.since, self.utf16, self.style.tokens()));
        }
        self.since = self.utf16;
        self.style = style;
    }

    fn relink(&mut self, address: String) {
        let address = std::mem::replace(&mut self.address, address);
        let (begin, end) = (self.linked_since, self.utf16);
        self.linked_since = end;
        if address.is_empty() || begin == end {
            return;
        }
        match self.painted.links.last_mut() {
            // Tools begin a link anew at every word.
            Some(last) if last.1 == begin && last.2 == address => last.1 = end,
            _ => self.painted.links.push(Link(begin, end, address)),
        }
    }

    fn put(&mut self, c: char) {
        self.painted.text.push(c);
        self.utf16 += c.len_utf16() as u32;
    }
}

impl Perform for Painter {
    fn print(&mut self, c: char) {
        // C1 controls arrive as characters.
        if !c.is_control() {
            self.put(c);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\t' => {
                for _ in 0..(8 - self.utf16 % 8) {
                    self.put(' ');
                }
            }
            // A backspace takes back what spinners drew.
            0x08 => {
                let Painted { text, spans, links } = &mut self.painted;
                if let Some(c) = text.pop() {
                    self.utf16 -= c.len_utf16() as u32;
                    self.since = self.since.min(self.utf16);
                    self.linked_since = self.linked_since.min(self.utf16);
                    for span in spans.iter_mut() {
                        span.1 = span.1.min(self.utf16);
                    }
                    for link in links.iter_mut() {
                        link.1 = link.1.min(self.utf16);
                    }
                    spans.retain(|span| span.0 < span.1);
                    links.retain(|link| link.0 < link.1);
                }
            }
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if action == 'm' && intermediates.is_empty() && !ignore {
            let mut style = self.style;
            style.apply(params);
            self.restyle(style);
        }
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _bell_terminated: bool) {
        if let Some(address) = address_of(params) {
            self.relink(address);
        }
    }
}
