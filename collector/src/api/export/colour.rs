//! Colours of tools on a page: which they are, and how far they must go to be readable.

use std::fmt;

/// How much of a tool's ground is drawn, in percent.
pub(super) const THIN_PERCENT: u8 = 28;
/// WCAG 2.2 AA for text of ordinary size.
const READABLE: f64 = 4.5;
/// Towards black or white, in so many steps.
const STEPS: u8 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rgb(pub(super) u8, pub(super) u8, pub(super) u8);

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

/// A page is light or dark, as its reader has it.
#[derive(Debug)]
pub(super) struct Scheme {
    pub(super) text: Rgb,
    /// Of the page, of an error's row, of a warning's.
    pub(super) grounds: [Rgb; 3],
    /// Where a colour goes that cannot be read.
    towards: Rgb,
    /// The sixteen colours of a terminal; those of `ui/src/lib/shared/tokens.css`.
    palette: [Rgb; 16],
}

const fn rgb(code: u32) -> Rgb {
    Rgb((code >> 16) as u8, (code >> 8) as u8, code as u8)
}

static LIGHT: Scheme = Scheme {
    text: rgb(0x1b_1f24),
    grounds: [rgb(0xff_ffff), rgb(0xff_ebe9), rgb(0xff_f8c5)],
    towards: rgb(0),
    palette: [
        rgb(0x3a_404a),
        rgb(0xa8_1824),
        rgb(0x12_703f),
        rgb(0x7d_5200),
        rgb(0x0b_5cb0),
        rgb(0x8a_2fa8),
        rgb(0x0a_6a75),
        rgb(0x4b_5563),
        rgb(0x62_6c7a),
        rgb(0xb3_1d29),
        rgb(0x13_7a4b),
        rgb(0x8a_5a00),
        rgb(0x0b_6bcb),
        rgb(0x9c_3fbb),
        rgb(0x0b_7783),
        rgb(0x16_1a21),
    ],
};

static DARK: Scheme = Scheme {
    text: rgb(0xd6_dae0),
    grounds: [rgb(0x14_171b), rgb(0x4a_1d1d), rgb(0x42_381a)],
    towards: rgb(0xff_ffff),
    palette: [
        rgb(0x7d_8796),
        rgb(0xff_7b80),
        rgb(0x4f_d39a),
        rgb(0xee_bb4d),
        rgb(0x63_aeff),
        rgb(0xd5_8bf0),
        rgb(0x4f_cbd6),
        rgb(0xc6_cdd8),
        rgb(0x8b_95a5),
        rgb(0xff_8f93),
        rgb(0x6f_e0b0),
        rgb(0xf6_cd72),
        rgb(0x86_c1ff),
        rgb(0xe2_a8f6),
        rgb(0x79_dbe4),
        rgb(0xf4_f6fa),
    ],
};

/// One colour in each scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    light: Rgb,
    dark: Rgb,
}

impl Pair {
    pub(super) fn of(of: impl Fn(&Scheme) -> Rgb) -> Self {
        Self { light: of(&LIGHT), dark: of(&DARK) }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.light == self.dark {
            self.light.fmt(f)
        } else {
            write!(f, "light-dark({},{})", self.light, self.dark)
        }
    }
}

/// A colour as a row's spans name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Colour {
    /// That of text which has none.
    #[default]
    Text,
    Indexed(u8),
    Rgb(Rgb),
}

impl Colour {
    /// `N` (0-255) or `#rrggbb`.
    pub(super) fn read(token: &str) -> Option<Self> {
        let Some(hex) = token.strip_prefix('#') else {
            let digits = token.bytes().all(|byte| byte.is_ascii_digit());
            return digits.then(|| token.parse().ok().map(Self::Indexed))?;
        };
        let digits = hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u32::from_str_radix(hex, 16).ok().map(|code| Self::Rgb(rgb(code))))?
    }

    fn in_scheme(self, scheme: &Scheme) -> Rgb {
        match self {
            Self::Text => scheme.text,
            Self::Indexed(index @ 0..16) => scheme.palette[usize::from(index)],
            // A cube of six steps a side, then greys.
            Self::Indexed(index @ 16..232) => {
                let step = |value: u8| if value == 0 { 0 } else { 55 + value * 40 };
                let index = index - 16;
                Rgb(step(index / 36), step(index / 6 % 6), step(index % 6))
            }
            Self::Indexed(index) => {
                let grey = 8 + (index - 232) * 10;
                Rgb(grey, grey, grey)
            }
            Self::Rgb(rgb) => rgb,
        }
    }

    pub(super) fn pair(self) -> Pair {
        Pair::of(|scheme| self.in_scheme(scheme))
    }
}

/// The colour of text that can be read on every ground of a row, with a tool's own ground thinly over it.
pub(super) fn ink(colour: Colour, over: Option<Colour>) -> Pair {
    Pair::of(|scheme| {
        let wanted = colour.in_scheme(scheme);
        let grounds = scheme.grounds.map(|ground| {
            over.map_or(ground, |over| mixed(ground, over.in_scheme(scheme), THIN_PERCENT))
        });
        let steps = (0..=STEPS).map(|step| mixed(wanted, scheme.towards, step * (100 / STEPS)));
        let mut readable =
            steps.filter(|ink| grounds.iter().all(|g| contrast(*ink, *g) >= READABLE));
        readable.next().unwrap_or(scheme.towards)
    })
}

/// So much of the second over the first.
fn mixed(under: Rgb, over: Rgb, percent: u8) -> Rgb {
    let mix = |under: u8, over: u8| {
        let (under, over, part) = (u32::from(under), u32::from(over), u32::from(percent));
        ((under * (100 - part) + over * part + 50) / 100) as u8
    };
    Rgb(mix(under.0, over.0), mix(under.1, over.1), mix(under.2, over.2))
}

/// Contrast by WCAG 2.2, from 1 to 21.
fn contrast(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Relative luminance by WCAG 2.2.
fn luminance(colour: Rgb) -> f64 {
    let linear = |value: u8| {
        let value = f64::from(value) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(colour.0) + 0.7152 * linear(colour.1) + 0.0722 * linear(colour.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_can_be_read_on_every_ground() {
        let colours = || (0..=255).map(Colour::Indexed).chain([Colour::Text]);
        for over in colours().step_by(5).map(Some).chain([None]) {
            for colour in colours() {
                let ink = ink(colour, over);
                for (ink, scheme) in [(ink.light, &LIGHT), (ink.dark, &DARK)] {
                    for ground in scheme.grounds {
                        let ground = over.map_or(ground, |over| {
                            mixed(ground, over.in_scheme(scheme), THIN_PERCENT)
                        });
                        let contrast = contrast(ink, ground);
                        assert!(contrast >= READABLE, "{ink} on {ground} has {contrast:.2}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_colour_that_can_be_read_stays_what_it_is() {
        assert_eq!(ink(Colour::Rgb(rgb(0x80_0000)), None).light, rgb(0x80_0000));
        assert_eq!(ink(Colour::Rgb(rgb(0xff_ff00)), None).dark, rgb(0xff_ff00));
        assert_eq!(ink(Colour::Text, None), Pair::of(|scheme| scheme.text));
    }

    #[test]
    fn tokens_are_read_strictly() {
        assert_eq!(Colour::read("0"), Some(Colour::Indexed(0)));
        assert_eq!(Colour::read("#01fF03"), Some(Colour::Rgb(Rgb(1, 255, 3))));
        for token in
            ["", "256", "-1", "+1", "#12345", "#+12345", "#1234567", "red", "#12345g", "1;x"]
        {
            assert_eq!(Colour::read(token), None, "{token}");
        }
    }
}
