//! Decides what of a stream is secret. It sees text without colours, and where these stood.

use super::colours::Seams;
use super::rules::{self, Run, Verdict};
use super::triggers::{self, Trigger};
use super::{LOOKBEHIND, Sink};

/// So many colours behind a known beginning are tried as the secret's end: one behind the name, one before the value, one behind it, and one more.
const COLOURS: usize = 4;

/// Where in a secret the stream stands.
#[derive(Clone, Debug)]
enum Inside {
    /// A token or value that goes on while its bytes are of its sort.
    Run(Run),
    /// A private key in PEM form.
    Key(rules::Key),
}

/// Finds secrets in a stream of text without colours.
#[derive(Clone, Debug, Default)]
pub(super) struct Decider {
    /// What was passed on of the open line, at most [`LOOKBEHIND`] bytes, then what is held back.
    text: Vec<u8>,
    /// How much of `text` was passed on.
    passed: usize,
    /// What may begin at or before here was judged.
    judged: usize,
    inside: Option<Inside>,
    /// Where in `text` colours stood.
    seams: Seams,
}

impl Decider {
    /// Takes the next bytes and hands on what is decided.
    pub(super) fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        if self.text.is_empty() {
            // Mostly the line before is over: nothing is copied.
            (self.passed, self.judged) = (0, 0);
            let passed = self.go_on(bytes, false, sink);
            self.keep(bytes, passed);
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        text.extend_from_slice(bytes);
        let passed = self.go_on(&text, false, sink);
        self.keep(&text, passed);
    }

    /// No more comes that could make what is held a secret; a key in PEM form goes on all the same.
    pub(super) fn flush(&mut self, sink: &mut impl Sink) {
        let text = std::mem::take(&mut self.text);
        self.go_on(&text, true, sink);
        if matches!(self.inside, Some(Inside::Run(_))) {
            self.inside = None;
        }
        self.forget();
    }

    /// A text that nothing is before and, but for the rest of a key, nothing behind.
    pub(super) fn whole(&mut self, text: &[u8], sink: &mut impl Sink) {
        (self.passed, self.judged) = (0, 0);
        self.go_on(text, true, sink);
        self.forget();
    }

    fn forget(&mut self) {
        (self.passed, self.judged) = (0, 0);
        self.seams.clear();
    }

    /// How many bytes are held back.
    pub(super) fn held(&self) -> usize {
        self.text.len() - self.passed.min(self.text.len())
    }

    /// A colour stands behind so many bytes of what is fed next.
    pub(super) fn colour_behind(&mut self, at: usize) {
        self.seams.add(self.text.len() + at);
    }

    /// Keeps what a later rule may look at, and what is held.
    fn keep(&mut self, text: &[u8], passed: usize) {
        let line = memchr::memrchr2(b'\n', b'\r', &text[..passed]).map_or(0, |at| at + 1);
        let from = line.max(passed.saturating_sub(LOOKBEHIND)).min(self.judged);
        self.text.clear();
        self.text.extend_from_slice(&text[from..]);
        self.passed = passed - from;
        self.judged -= from;
        self.seams.forget(from);
    }

    /// Goal: pass on as much of `text` as is decided. Ends at the text's end, or where something must be held.
    fn go_on(&mut self, text: &[u8], over: bool, sink: &mut impl Sink) -> usize {
        let mut passed = self.passed;
        if let Some(inside) = self.inside.take() {
            passed = self.within(inside, text, passed, over, false, sink);
            if self.inside.is_some() {
                self.judged = passed;
                return passed;
            }
            self.judged = passed;
        }
        let mut found = triggers::find(text, &self.seams, self.judged, over);
        found.sort_by_key(|found| (found.end, found.rule));
        for trigger in found {
            if trigger.end <= self.judged {
                continue;
            }
            match rules::judge(trigger.rule, text, trigger.end, over) {
                Verdict::Not => {
                    // What stands before a colour may be all of it.
                    let Some((from, run, seam)) = self.before_a_colour(trigger, text, text.len())
                    else {
                        continue;
                    };
                    sink.plain(&text[passed..from]);
                    let run = Inside::Run(run);
                    passed = self.within(run, &text[..seam], from, true, true, sink);
                    self.judged = passed;
                }
                Verdict::More { hold } => {
                    let hold = hold.max(passed);
                    sink.plain(&text[passed..hold]);
                    self.judged = trigger.end - 1;
                    return hold;
                }
                Verdict::Secret { from, run } => {
                    // Of one end the first rule that says so counts.
                    let from = from.max(passed);
                    sink.plain(&text[passed..from]);
                    passed = self.within(Inside::Run(run), text, from, over, true, sink);
                    self.judged = passed;
                    if run.learns
                        && let Some((from, run, seam)) = self.before_a_colour(trigger, text, passed)
                        && run.learns
                    {
                        sink.learned(&text[from..seam]);
                    }
                    if self.inside.is_some() {
                        return passed;
                    }
                }
                Verdict::Key => {
                    let from = trigger.end.max(passed);
                    sink.plain(&text[passed..from]);
                    let key = Inside::Key(rules::Key::default());
                    passed = self.within(key, text, from, over, true, sink);
                    self.judged = passed;
                    if self.inside.is_some() {
                        return passed;
                    }
                }
            }
        }
        sink.plain(&text[passed..]);
        self.judged = text.len();
        text.len()
    }

    /// The secret behind `trigger` if the text ended at one of the next colours before `until`: where it begins, how it goes on, and the colour's
    /// place. A rule that says no has seen all that it looks at, so no colour that comes later would change that.
    fn before_a_colour(
        &self,
        trigger: Trigger,
        text: &[u8],
        until: usize,
    ) -> Option<(usize, Run, usize)> {
        self.seams.between(trigger.end, until).take(COLOURS).find_map(|seam| {
            match rules::judge(trigger.rule, &text[..seam], trigger.end, true) {
                Verdict::Secret { from, run } => Some((from, run, seam)),
                Verdict::Not | Verdict::More { .. } | Verdict::Key => None,
            }
        })
    }

    /// Passes on the secret's bytes from `from` on; says where it ends, or where to go on.
    fn within(
        &mut self,
        mut inside: Inside,
        text: &[u8],
        from: usize,
        over: bool,
        begins: bool,
        sink: &mut impl Sink,
    ) -> usize {
        match &mut inside {
            Inside::Run(run) => {
                let end = run.end(text, from);
                sink.secret(&text[from..end], run.kind, begins);
                if run.learns && (end < text.len() || over) {
                    sink.learned(&text[from..end]);
                }
                // What is learned was seen whole before it was decided.
                run.learns = false;
                if end == text.len() && !over {
                    self.inside = Some(inside);
                }
                end
            }
            Inside::Key(key) => {
                let (end, over) = key.go_on(text, from, over, sink);
                if !over {
                    self.inside = Some(inside);
                }
                end
            }
        }
    }
}
