//! Values of flags: parsed once, then trusted.

use releqc_runtime::BitWidth;
use std::time::Duration;

/// Fixed widths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    All(BitWidth),
    Each(Vec<BitWidth>),
}

/// Widths of the codes of tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TensorBits {
    /// Of all that have a choice.
    pub(crate) all: Option<BitWidth>,
    /// Of those of a name.
    pub(crate) named: Vec<(String, BitWidth)>,
}

/// Widths the search may choose from, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActionSet(pub(crate) Vec<BitWidth>);

/// Smallest and largest value of an input, or of all that are not named.
pub(crate) type NamedRange = (Option<String>, (f32, f32));

/// Extents of the input of a name.
pub(crate) type NamedShape = (String, Vec<usize>);

/// `NAME=1,3,320,320`; a name may hold `=`.
pub(super) fn parse_shape(text: &str) -> Result<NamedShape, String> {
    let refuse = || format!("{text:?}; NAME=1,3,320,320 with extents of at least 1 is required");
    let (name, extents) = text.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(refuse)?;
    let extent = |text: &str| text.trim().parse().ok().filter(|&d: &usize| d >= 1).ok_or_else(refuse);
    Ok((name.to_owned(), extents.split(',').map(extent).collect::<Result<_, _>>()?))
}

/// `LO:HI` or `NAME=LO:HI`; a name may hold colons.
pub(super) fn parse_range(text: &str) -> Result<NamedRange, String> {
    let (name, range) = match text.rsplit_once('=') {
        Some((name, range)) => (Some(name.to_owned()), range),
        None => (None, text),
    };
    let refuse = || format!("{text:?}; LO:HI or NAME=LO:HI with numbers LO < HI is required");
    let (low, high) = range.split_once(':').ok_or_else(refuse)?;
    let number = |text: &str| text.trim().parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(refuse);
    let (low, high) = (number(low)?, number(high)?);
    if low < high { Ok((name, (low, high))) } else { Err(refuse()) }
}

fn parse_width(text: &str) -> Result<BitWidth, String> {
    let refuse = || format!("width {text:?}; 2 to 8 is required");
    text.trim().parse().ok().and_then(BitWidth::new).ok_or_else(refuse)
}

pub(super) fn parse_bits(text: &str) -> Result<Bits, String> {
    let widths = text.split(',').map(parse_width).collect::<Result<Vec<_>, _>>()?;
    Ok(if let [width] = widths[..] { Bits::All(width) } else { Bits::Each(widths) })
}

/// `4`, `NAME=4`, or several of them; a name may hold `=`.
pub(super) fn parse_activation_bits(text: &str) -> Result<TensorBits, String> {
    let mut bits = TensorBits::default();
    for part in text.split(',') {
        match part.rsplit_once('=') {
            Some((name, _)) if name.is_empty() || bits.named.iter().any(|(other, _)| other == name) => {
                return Err(format!("{part:?}; a name, once, is required before the width"));
            }
            Some((name, width)) => bits.named.push((name.to_owned(), parse_width(width)?)),
            None if bits.all.is_some() => return Err(format!("{part:?}; one width without a name is allowed")),
            None => bits.all = Some(parse_width(part)?),
        }
    }
    Ok(bits)
}

/// Widths and ranges of widths, separated by commas.
pub(super) fn parse_action_set(text: &str) -> Result<ActionSet, String> {
    let mut widths = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (parse_width(first)?, parse_width(last)?);
        if first > last {
            return Err(format!("range {part:?} is empty"));
        }
        widths.extend(BitWidth::all().filter(|width| (first..=last).contains(width)));
    }
    widths.sort_unstable();
    widths.dedup();
    Ok(ActionSet(widths))
}

pub(super) fn parse_points(text: &str) -> Result<f64, String> {
    let points = text.parse().ok().filter(|points: &f64| points.is_finite() && *points >= 0.0);
    points.ok_or_else(|| "points of accuracy, 0 or more, are required".into())
}

pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 1).ok_or_else(|| "a number >= 1 is required".into())
}

pub(super) fn parse_threads(text: &str) -> Result<usize, String> {
    const MOST: usize = 1024;
    let threads = text.parse().ok().filter(|n| (1..=MOST).contains(n));
    threads.ok_or_else(|| format!("a number of threads from 1 to {MOST} is required"))
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || "a time such as 90s, 10m or 1h is required".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_a_unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(refuse()),
    };
    let number: f64 = digits.parse().map_err(|_| refuse())?;
    Duration::try_from_secs_f64(number * seconds_a_unit).ok().filter(|time| !time.is_zero()).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_2_to_8() {
        let width = |bits| BitWidth::new(bits).unwrap();
        assert_eq!(parse_bits("4"), Ok(Bits::All(width(4))));
        assert_eq!(parse_bits("8,2, 3"), Ok(Bits::Each(vec![width(8), width(2), width(3)])));
        for bad in ["", "1", "9", "4,", "4.5", "-4", "four"] {
            assert!(parse_bits(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_action_set("2-4,8,3").unwrap().0, [2, 3, 4, 8].map(width));
        assert!(parse_action_set("8-2").is_err() && parse_action_set("2-9").is_err());
    }

    #[test]
    fn widths_of_tensors_may_have_names() {
        let width = |bits| BitWidth::new(bits).unwrap();
        let parsed = |text| parse_activation_bits(text).map(|bits| (bits.all, bits.named));
        assert_eq!(parsed("4"), Ok((Some(width(4)), vec![])));
        let named = vec![("/conv/Relu:0".into(), width(2)), ("a=b".into(), width(8))];
        assert_eq!(parsed("/conv/Relu:0=2,6,a=b=8"), Ok((Some(width(6)), named)));
        for bad in ["", "1", "9", "4,5", "a=", "=4", "a=1", "a=4,a=5"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_may_have_names() {
        assert_eq!(parse_range("-58:68"), Ok((None, (-58.0, 68.0))));
        assert_eq!(parse_range("input:0=0:1e3"), Ok((Some("input:0".into()), (0.0, 1e3))));
        for bad in ["", "1", "2:1", "0:0", "nan:1", "0:inf", "a=1", "0:1:2"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "m", "10x", "-1s", "0", "nan", "1e300h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
