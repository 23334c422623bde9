//! A log as a page: text in the colours of its tool, safe to open wherever it came from.
//!
//! What must hold:
//! * The page needs nothing else and runs nothing; its own policy says so.
//! * Text is escaped, and what hides or acts in it is a sign. Where a link leads is told when it is pointed at, and nothing leads there. Styles are what their tokens were read as, never the tokens.
//! * Text can be read on every ground that a row may have, light and dark: a tool's colour is brought as far towards black or
//!   white as that takes. A tool's ground is drawn thin. Dim text is dimmer than that, as it was meant to be.

use super::colour::{self, Colour, Scheme};
use deckport_protocol::Level;
use deckport_protocol::rows::{Row, visible, visible_char};
use std::fmt::Write as _;

pub(super) const END: &str = "</pre></body></html>\n";

/// What stands in front of the rows.
pub(super) fn begin(title: &str) -> String {
    let title = escaped(&visible(title));
    let mut colours = String::new();
    for index in 0..16 {
        let ink = colour::ink(Colour::Indexed(index), None);
        let _ = write!(colours, ".f{index}{{--f:{ink}}}");
    }
    let pair = |of: fn(&Scheme) -> colour::Rgb| colour::Pair::of(of).to_string();
    let (text, ground) = (pair(|scheme| scheme.text), pair(|scheme| scheme.grounds[0]));
    let (error, warning) = (pair(|scheme| scheme.grounds[1]), pair(|scheme| scheme.grounds[2]));
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <style>:root{{color-scheme:light dark;--x:{text};--g:{ground}}}\
         body{{font:13px/1.5 ui-monospace,monospace;margin:24px;color:var(--x);background:var(--g)}}\
         h1{{font:600 16px system-ui,sans-serif}}pre{{white-space:pre-wrap;overflow-wrap:anywhere}}\
         a{{color:light-dark(#656d76,#98a2b2);text-decoration:none;display:inline-block;min-width:4em;user-select:none}}\
         .e{{background:{error}}}.w{{background:{warning}}}:target{{outline:2px solid #0969da}}\
         .t{{unicode-bidi:isolate;direction:ltr}}\
         .c{{color:var(--f)}}.k{{background:color-mix(in srgb,var(--b) {thin}%,transparent)}}\
         .re{{color:var(--g);background:var(--f,var(--x))}}\
         .bo{{font-weight:700}}.di{{opacity:.75}}.it{{font-style:italic}}.un{{text-decoration:underline}}\
         .l{{border-bottom:1px dotted}}.st{{text-decoration:line-through}}.un.st{{text-decoration:underline line-through}}\
         {colours}</style></head><body><h1>{title}</h1><pre>\n",
        thin = colour::THIN_PERCENT,
    )
}

pub(super) fn write_row(out: &mut String, row: &Row) {
    let class = match row.level {
        Level::Error => " class=\"e\"",
        Level::Warning => " class=\"w\"",
        Level::Debug | Level::Info | Level::Notice => "",
    };
    let (id, number) = (row.row, row.row + 1);
    let _ =
        write!(out, "<span id=\"r{id}\"{class}><a href=\"#r{id}\">{number}</a> <span class=\"t\">");
    write_text(out, row);
    out.push_str("</span></span>\n");
}

/// A row's text in its styles, and where its links lead. Both are told in UTF-16 code units, and stand in order.
fn write_text(out: &mut String, row: &Row) {
    let (mut spans, mut links) = (row.spans.iter().peekable(), row.links.iter().peekable());
    let mut at = 0;
    let mut here = (None, None);
    let mut open = false;
    for c in row.text.chars() {
        while spans.next_if(|span| span.1 <= at).is_some() {}
        while links.next_if(|link| link.1 <= at).is_some() {}
        let span = spans.peek().copied().filter(|span| span.0 <= at);
        let link = links.peek().copied().filter(|link| link.0 <= at);
        let now = (span.map(|span| span.0), link.map(|link| link.0));
        if now != here {
            if open {
                out.push_str("</span>");
            }
            let (style, address) = (span.map(|span| &*span.2), link.map(|link| &*link.2));
            open = begin_piece(out, style.unwrap_or_default(), address);
            here = now;
        }
        escape(out, visible_char(c));
        at += c.len_utf16() as u32;
    }
    if open {
        out.push_str("</span>");
    }
}

/// Begins a piece in this style that leads there; not where it has none that is known, and leads nowhere.
fn begin_piece(out: &mut String, tokens: &str, address: Option<&str>) -> bool {
    let (mut foreground, mut background) = (None, None);
    let mut classes = String::new();
    let mut reversed = false;
    for token in tokens.split(' ') {
        let class = match token {
            "bold" => " bo",
            "dim" => " di",
            "italic" => " it",
            "underline" => " un",
            "strike" => " st",
            "reverse" => {
                reversed = true;
                " re"
            }
            _ => {
                if let Some(found) = token.strip_prefix("fg").and_then(Colour::read) {
                    foreground = Some(found);
                } else if let Some(found) = token.strip_prefix("bg").and_then(Colour::read) {
                    background = Some(found);
                }
                ""
            }
        };
        classes.push_str(class);
    }
    // Reversed text stands on its own colour.
    let background = background.filter(|_| !reversed);
    let mut style = String::new();
    match (foreground, background) {
        (Some(Colour::Indexed(index @ 0..16)), None) => {
            let _ = write!(classes, " c f{index}");
        }
        (Some(_), _) | (None, Some(_)) => {
            classes.push_str(" c");
            let _ =
                write!(style, "--f:{}", colour::ink(foreground.unwrap_or_default(), background));
        }
        (None, None) => {}
    }
    if let Some(background) = background {
        classes.push_str(" k");
        let _ = write!(style, ";--b:{}", background.pair());
    }
    if address.is_some() {
        classes.push_str(" l");
    }
    if classes.is_empty() {
        return false;
    }
    let _ = write!(out, "<span class=\"{}\"", classes.trim_start());
    if !style.is_empty() {
        let _ = write!(out, " style=\"{style}\"");
    }
    if let Some(address) = address {
        let _ = write!(out, " title=\"{}\"", escaped(&visible(address)));
    }
    out.push('>');
    true
}

fn escape(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        c => out.push(c),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| escape(&mut out, c));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use deckport_protocol::rows::{RowDeriver, RowRenderer};
    use deckport_protocol::{Body, Output, Record};

    /// What a line's bytes become on the page, without its number.
    fn shown(line: &str) -> String {
        let bytes = format!("{line}\n").into();
        let body = Body::Output(Output { bytes, ..Output::default() });
        let mut renderer = RowRenderer::new(0..1);
        RowDeriver::new()
            .feed(&Record { seq: 1, boot_us: 0, at_us: 0, body }.borrow(), &mut renderer);
        let mut out = String::new();
        write_row(&mut out, &renderer.rows()[0]);
        let text = out.split_once("<span class=\"t\">").expect("the text").1;
        text.strip_suffix("</span></span>\n").expect("the row's end").to_owned()
    }

    #[test]
    fn a_line_is_only_text() {
        assert_eq!(
            shown("</pre><script>alert(\"1\")</script> & \u{202e}more"),
            "&lt;/pre&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; �more"
        );
        assert!(begin("<b>\u{202e}").contains("<h1>&lt;b&gt;�</h1>"));
    }

    #[test]
    fn colours_and_styles_are_kept() {
        for (line, expected) in [
            ("a \x1b[31mred\x1b[0m b", "a <span class=\"c f1\">red</span> b"),
            ("\x1b[1;3;4;9mall\x1b[m", "<span class=\"bo it un st\">all</span>"),
            ("\x1b[2;95mdim\x1b[m", "<span class=\"di c f13\">dim</span>"),
            ("\x1b[7;32mturned\x1b[m", "<span class=\"re c f2\">turned</span>"),
            // Behind what is two code units; a piece in a style of its own beside it.
            (
                "🔧\x1b[34m🔧<\x1b[36m>",
                "🔧<span class=\"c f4\">🔧&lt;</span><span class=\"c f6\">&gt;</span>",
            ),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_link_tells_where_it_leads_and_leads_nowhere() {
        assert_eq!(
            shown("see \x1b]8;;https://a.example/?b&\"c\x1b\\the \x1b[32mlog\x1b[m\x1b]8;;\x1b\\."),
            "see <span class=\"l\" title=\"https://a.example/?b&amp;&quot;c\">the </span>\
             <span class=\"c f2 l\" title=\"https://a.example/?b&amp;&quot;c\">log</span>."
        );
    }

    #[test]
    fn colours_of_their_own_are_readable_in_both_schemes() {
        // Bright yellow is darkened for a light page and stays on a dark one.
        let bright = shown("\x1b[38;2;255;255;0mx");
        assert!(bright.starts_with("<span class=\"c\" style=\"--f:light-dark(#"), "{bright}");
        assert!(bright.contains(",#ffff00)"), "{bright}");
        assert!(!bright.contains("(#ffff00"), "{bright}");
        let palette = shown("\x1b[38;5;208mx");
        assert!(palette.contains(",#ff8700)"), "{palette}");
        // A ground brings text that can be read on it.
        let ground = shown("\x1b[48;5;226mx\x1b[0m");
        assert!(ground.contains("class=\"c k\"") && ground.contains(";--b:#ffff00"), "{ground}");
    }
}
