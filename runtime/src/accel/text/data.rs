//! Weights and constants in the text of a program by hand.
//!
//! ```text
//! .weights at=0 bits=2 outputs=3 depth=4      packed codes, first byte 64 * at of the weights section
//! .row 1 0 -1 -2                              the codes of an output channel, in the order of its depth
//! .constants at=0 outputs=3                   biases, then multipliers, first byte 64 * at of the constants section
//! .channel bias=-5 multiplier=0.125           an output channel
//! ```

use crate::BitWidth;
use crate::accel::error::AccelError;
use crate::accel::table::ADDRESS_UNIT;
use crate::pack::pack;

/// Bound on a section, in bytes.
const MAX_SECTION: u64 = 1 << 26;

type Check<T = ()> = Result<T, String>;

/// The values of `name=value` words: exactly these names, in any order.
fn values<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Check<[&'a str; N]> {
    let mut found = [None; N];
    for word in text.split_whitespace().skip(1) {
        let (name, value) = word.split_once('=').ok_or("words of the form name=value are required")?;
        let at =
            names.iter().position(|known| *known == name).ok_or_else(|| format!("{name} is not one of {names:?}"))?;
        if found[at].replace(value).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    match found.iter().position(Option::is_none) {
        Some(at) => Err(format!("{} is missing", names[at])),
        None => Ok(found.map(Option::unwrap_or_default)),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Check<T> {
    text.parse().map_err(|_| format!("{text} is not a number of its range"))
}

/// A layer's data that is being read.
enum Open {
    Weights { at: u64, bits: BitWidth, outputs: usize, depth: usize, codes: Vec<i8> },
    Constants { at: u64, outputs: usize, words: Vec<[u32; 2]> },
}

impl Open {
    fn begin(line: &str) -> Check<Self> {
        if line.starts_with(".weights") {
            let [at, bits, outputs, depth] = values(line, ["at", "bits", "outputs", "depth"])?;
            let width = number(bits)?;
            let bits = BitWidth::new(width).ok_or_else(|| format!("{width} bits; 2..=8 is required"))?;
            let (at, outputs, depth) = (number(at)?, number(outputs)?, number(depth)?);
            return Ok(Open::Weights { at, bits, outputs, depth, codes: Vec::new() });
        }
        let [at, outputs] = values(line, ["at", "outputs"])?;
        Ok(Open::Constants { at: number(at)?, outputs: number(outputs)?, words: Vec::new() })
    }

    fn row(&mut self, line: &str) -> Check {
        let Open::Weights { bits, depth, codes, .. } = self else { return Err(".row follows .weights".into()) };
        let before = codes.len();
        let top = 1i32 << (bits.bits() - 1);
        for word in line.split_whitespace().skip(1) {
            let code: i8 = number(word)?;
            if !(-top..top).contains(&i32::from(code)) {
                return Err(format!("{code}; {}..={} is required at {bits} bits", -top, top - 1));
            }
            codes.push(code);
        }
        let found = codes.len() - before;
        if found == *depth { Ok(()) } else { Err(format!("{found} codes; {depth} are required")) }
    }

    fn channel(&mut self, line: &str) -> Check {
        let Open::Constants { words, .. } = self else { return Err(".channel follows .constants".into()) };
        let [bias, multiplier] = values(line, ["bias", "multiplier"])?;
        let multiplier: f32 = number(multiplier)?;
        if !multiplier.is_finite() {
            return Err(format!("multiplier {multiplier}; a finite number is required"));
        }
        words.push([number::<i32>(bias)?.cast_unsigned(), multiplier.to_bits()]);
        Ok(())
    }

    /// Appends what has been read to its section.
    fn end(self, [weights, constants]: &mut [Vec<u8>; 2]) -> Check {
        match self {
            Open::Weights { at, bits, outputs, depth, codes } => {
                if outputs == 0 || depth == 0 || Some(codes.len()) != outputs.checked_mul(depth) {
                    return Err(format!("{} codes; {outputs} rows of {depth} are required", codes.len()));
                }
                place(weights, at, pack(&codes, outputs, depth, bits))
            }
            Open::Constants { at, outputs, words } => {
                if outputs == 0 || words.len() != outputs {
                    return Err(format!("{} channels; {outputs} are required", words.len()));
                }
                let of = |part: usize| words.iter().flat_map(move |word| word[part].to_le_bytes());
                place(constants, at, of(0).chain(of(1)).collect())
            }
        }
    }
}

/// Puts bytes at `at` units, after all that is there.
fn place(section: &mut Vec<u8>, at: u64, bytes: Vec<u8>) -> Check {
    let first = at.checked_mul(ADDRESS_UNIT).filter(|first| first.saturating_add(bytes.len() as u64) <= MAX_SECTION);
    let first = first.ok_or_else(|| format!("at={at}; a section has at most {MAX_SECTION} bytes"))?;
    if first < section.len() as u64 {
        let least = (section.len() as u64).div_ceil(ADDRESS_UNIT);
        return Err(format!("at={at} lies in what stands there; at least {least} is required"));
    }
    section.resize(first as usize, 0);
    section.extend(bytes);
    Ok(())
}

/// The weights and the constants section.
pub(super) fn sections(lines: &[(usize, &str)]) -> Result<(Vec<u8>, Vec<u8>), AccelError> {
    let mut sections = [Vec::new(), Vec::new()];
    let mut open: Option<(usize, Open)> = None;
    for &(line, text) in lines {
        let error = |what: String| AccelError::Text { line, what };
        let directive = text.split_whitespace().next().unwrap_or("");
        match (directive, &mut open) {
            (".row", Some((_, open))) => open.row(text).map_err(error)?,
            (".channel", Some((_, open))) => open.channel(text).map_err(error)?,
            (".row" | ".channel", None) => {
                return Err(error(format!("{directive} needs .weights or .constants before")));
            }
            _ => {
                end(open.take(), &mut sections)?;
                open = Some((line, Open::begin(text).map_err(error)?));
            }
        }
    }
    end(open, &mut sections)?;
    let [weights, constants] = sections;
    Ok((weights, constants))
}

fn end(open: Option<(usize, Open)>, sections: &mut [Vec<u8>; 2]) -> Result<(), AccelError> {
    match open {
        None => Ok(()),
        Some((line, open)) => open.end(sections).map_err(|what| AccelError::Text { line, what }),
    }
}
