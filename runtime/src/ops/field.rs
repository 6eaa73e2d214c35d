//! What a field of an operator can be: how its type is stored and shown, and what its role demands of a value.

use super::Operand;
use crate::error::quoted;
use crate::float;
#[cfg(feature = "encode")]
use crate::format::WordSink;
use crate::format::Words;
use crate::function::Function;
use crate::program::{Destination, FloatId, TensorId, Window};
use crate::verify::{MAX_EXTENT, MULTIPLIER_RANGE};
use crate::{BitWidth, FormatError};
use std::fmt::{self, Write};

/// Most axes of an operator.
pub const MAX_AXES: usize = float::MAX_EXTENTS;

/// What a check says: nothing, or what was seen and what is required.
pub(crate) type Check<T = ()> = Result<T, String>;

pub(crate) fn require(condition: bool, what: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(what()) }
}

/// A type of fields: its words in the plan section, and its text.
pub(crate) trait Field: Sized {
    /// Least number of bytes in the file.
    const LEAST_BYTES: usize = 4;

    fn decode(words: &mut Words, name: &'static str) -> Result<Self, FormatError>;

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink);

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Where a field stands in a line of text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In front of the equals sign.
    Result,
    /// Behind the operator's label.
    Operand,
    /// At the end, with its name.
    Attribute,
    /// At the end, its name alone, where it holds.
    Flag,
}

/// What an operator does with a field of type `T`.
pub(crate) trait Role<T> {
    const PLACE: Place = Place::Attribute;

    /// Checks what can be said of a value without its operator.
    fn check(_: &T) -> Check {
        Ok(())
    }

    /// Names the tensors and slots that the value stands for.
    fn operands(_: &T, _: &mut dyn FnMut(Operand)) {}

    /// Whether a flag holds.
    fn holds(_: &T) -> bool {
        false
    }
}

/// Adds to an error which field it is about.
pub(crate) fn check<T, R: Role<T>>(value: &T, name: &str) -> Check {
    R::check(value).map_err(|what| format!("{name}: {what}"))
}

macro_rules! roles {
    ($($(#[$doc:meta])+ $name:ident)*) => {$(
        $(#[$doc])+
        pub(crate) struct $name;
    )*};
}

roles! {
    /// Is read.
    Read
    /// Is written.
    Writes
    /// A clamp's end, or a code that fills.
    Code
    /// A float as slots hold it.
    Value
    /// A positive factor in [`MULTIPLIER_RANGE`].
    Multiplier
    /// A choice.
    Choice
    /// A yes or no.
    Flag
    /// At least 1, at most [`MAX_EXTENT`].
    Count
    /// First byte in a section, a multiple of 64.
    Offset
    /// Extents of at most [`MAX_AXES`] axes.
    Extents
    /// Steps between values, one an axis.
    Strides
    /// For each axis, where each of its positions lies.
    Tables
    /// For each position, what it sums.
    Taps
    /// A sliding window.
    Sliding
    /// A name.
    Name
}

impl Field for TensorId {
    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        Ok(TensorId(words.u32()?))
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32(self.0);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl Role<TensorId> for Read {
    const PLACE: Place = Place::Operand;

    fn operands(value: &TensorId, visit: &mut dyn FnMut(Operand)) {
        visit(Operand::Reads(*value));
    }
}

impl Role<TensorId> for Writes {
    const PLACE: Place = Place::Result;

    fn operands(value: &TensorId, visit: &mut dyn FnMut(Operand)) {
        visit(Operand::Writes(*value));
    }
}

impl Field for FloatId {
    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        Ok(FloatId(words.u32()?))
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32(self.0);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f{}", self.0)
    }
}

impl Role<FloatId> for Read {
    const PLACE: Place = Place::Operand;

    fn operands(value: &FloatId, visit: &mut dyn FnMut(Operand)) {
        visit(Operand::ReadsFloats(*value));
    }
}

impl Role<FloatId> for Writes {
    const PLACE: Place = Place::Result;

    fn operands(value: &FloatId, visit: &mut dyn FnMut(Operand)) {
        visit(Operand::WritesFloats(*value));
    }
}

impl Field for u32 {
    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        words.u32()
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32(*self);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Role<u32> for Count {
    fn check(value: &u32) -> Check {
        require((1..=MAX_EXTENT).contains(value), || format!("{value}; 1..={MAX_EXTENT} is required"))
    }
}

impl Field for u8 {
    fn decode(words: &mut Words, name: &'static str) -> Result<Self, FormatError> {
        words.u8(name)
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32((*self).into());
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Role<u8> for Code {}

impl Field for bool {
    fn decode(words: &mut Words, name: &'static str) -> Result<Self, FormatError> {
        words.flag(name)
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32((*self).into());
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Role<bool> for Flag {
    const PLACE: Place = Place::Flag;

    fn holds(value: &bool) -> bool {
        *value
    }
}

impl Field for f32 {
    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        words.f32()
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32(self.to_bits());
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:e}")
    }
}

impl Role<f32> for Value {
    fn check(value: &f32) -> Check {
        canonical(*value)
    }
}

/// Checks that a float is as slots hold it.
pub(crate) fn canonical(value: f32) -> Check {
    let same = float::canonical(value).to_bits() == value.to_bits();
    require(same, || {
        format!("{value:e} ({:#010x}); slots hold no subnormal number, no -0 and one NaN", value.to_bits())
    })
}

impl Role<f32> for Multiplier {
    fn check(value: &f32) -> Check {
        multiplier(*value)
    }
}

/// Checks that a factor is a normal number within [`MULTIPLIER_RANGE`].
pub(crate) fn multiplier(value: f32) -> Check {
    require(MULTIPLIER_RANGE.contains(&value), || format!("multiplier {value:e}; 2^-40..=2^20 is required"))
}

impl Field for u64 {
    const LEAST_BYTES: usize = 8;

    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        words.u64()
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u64(*self);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Role<u64> for Offset {
    fn check(value: &u64) -> Check {
        require(value.is_multiple_of(64), || format!("{value}; a multiple of 64 is required"))
    }
}

impl Field for BitWidth {
    fn decode(words: &mut Words, name: &'static str) -> Result<Self, FormatError> {
        let bits = words.u8(name)?;
        BitWidth::new(bits).ok_or_else(|| words.error(format!("weight width {bits}; 2..=8 is required")))
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32(self.bits().into());
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Role<BitWidth> for Choice {}

/// Tag, parameters.
impl Field for Function {
    const LEAST_BYTES: usize = 8;

    fn decode(words: &mut Words, name: &'static str) -> Result<Self, FormatError> {
        let (tag, parameters) = (words.u32()?, Vec::<f32>::decode(words, "parameters")?);
        let function = Function::from_parts(tag, &parameters);
        function.ok_or_else(|| words.error(format!("{name} {tag} with {} parameters is unknown", parameters.len())))
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32(self.tag());
        self.parameters().encode(sink);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        self.parameters().iter().try_for_each(|parameter| write!(f, " {parameter:e}"))
    }
}

impl Role<Function> for Choice {
    fn check(value: &Function) -> Check {
        value.parameters().into_iter().try_for_each(canonical)
    }
}

impl Role<Vec<Function>> for Choice {
    fn check(value: &Vec<Function>) -> Check {
        value.iter().try_for_each(<Choice as Role<Function>>::check)
    }
}

impl Field for String {
    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        words.string()
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.string(self);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", quoted(self))
    }
}

impl Role<String> for Name {}

/// Shows the elements of a list between brackets; of a long one the first and how many there are.
fn show_list<T>(
    f: &mut fmt::Formatter<'_>,
    values: &[T],
    mut show: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    const MOST_SHOWN: usize = 16;
    f.write_char('[')?;
    for (i, value) in values.iter().take(MOST_SHOWN).enumerate() {
        f.write_str(if i == 0 { "" } else { ", " })?;
        show(f, value)?;
    }
    if values.len() > MOST_SHOWN {
        write!(f, ", .. {} in all", values.len())?;
    }
    f.write_char(']')
}

impl<T: Field> Field for Vec<T> {
    fn decode(words: &mut Words, name: &'static str) -> Result<Self, FormatError> {
        words.list(name, T::LEAST_BYTES, |words| T::decode(words, name))
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.u32(self.len() as u32);
        self.iter().for_each(|value| value.encode(sink));
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_list(f, self, |f, value| value.show(f))
    }
}

impl Role<Vec<u32>> for Extents {
    fn check(value: &Vec<u32>) -> Check {
        axes(value.len())?;
        require(value.iter().all(|&extent| extent > 0), || format!("{value:?}; each must be >= 1"))
    }
}

impl Role<Vec<u32>> for Strides {
    fn check(value: &Vec<u32>) -> Check {
        axes(value.len())
    }
}

fn axes(count: usize) -> Check {
    require(count <= MAX_AXES, || format!("{count} axes; at most {MAX_AXES} are allowed"))
}

impl Role<Vec<Vec<u32>>> for Tables {
    fn check(value: &Vec<Vec<u32>>) -> Check {
        axes(value.len())?;
        require(value.iter().all(|table| !table.is_empty()), || "an axis of no position".into())
    }
}

/// A position and its weight.
impl Field for (u32, f32) {
    const LEAST_BYTES: usize = 8;

    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        Ok((words.u32()?, words.f32()?))
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.array(&[self.0, self.1.to_bits()]);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {:e}", self.0, self.1)
    }
}

impl Role<Vec<Vec<(u32, f32)>>> for Taps {
    fn check(value: &Vec<Vec<(u32, f32)>>) -> Check {
        require(!value.is_empty(), || "no position".into())?;
        value.iter().flatten().try_for_each(|(_, weight)| canonical(*weight))
    }
}

/// A part of a concatenation and the factor of its codes, where they do not simply move.
impl Field for (TensorId, Option<f32>) {
    const LEAST_BYTES: usize = 12;

    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        let (x, rescaled, multiplier) = (TensorId(words.u32()?), words.flag("rescaled")?, words.f32()?);
        Ok((x, rescaled.then_some(multiplier)))
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        let (x, multiplier) = self;
        sink.array(&[x.0, multiplier.is_some().into(), multiplier.unwrap_or(0.0).to_bits()]);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0.0)?;
        self.1.map_or(Ok(()), |multiplier| write!(f, " x {multiplier:e}"))
    }
}

impl Role<Vec<(TensorId, Option<f32>)>> for Read {
    const PLACE: Place = Place::Operand;

    fn check(value: &Vec<(TensorId, Option<f32>)>) -> Check {
        require(!value.is_empty(), || "nothing is read".into())?;
        value.iter().filter_map(|(_, factor)| *factor).try_for_each(multiplier)
    }

    fn operands(value: &Vec<(TensorId, Option<f32>)>, visit: &mut dyn FnMut(Operand)) {
        value.iter().for_each(|(x, _)| visit(Operand::Reads(*x)));
    }
}

impl Role<Vec<FloatId>> for Read {
    const PLACE: Place = Place::Operand;

    fn check(value: &Vec<FloatId>) -> Check {
        require(!value.is_empty(), || "nothing is read".into())
    }

    fn operands(value: &Vec<FloatId>, visit: &mut dyn FnMut(Operand)) {
        value.iter().for_each(|x| visit(Operand::ReadsFloats(*x)));
    }
}

impl Field for Window {
    const LEAST_BYTES: usize = 40;

    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        Ok(Window { kernel: words.array()?, stride: words.array()?, dilation: words.array()?, padding: words.array()? })
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        sink.array(&self.kernel);
        sink.array(&self.stride);
        sink.array(&self.dilation);
        sink.array(&self.padding);
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.kernel[0], self.kernel[1])?;
        if self.stride != [1, 1] {
            write!(f, " stride {},{}", self.stride[0], self.stride[1])?;
        }
        if self.dilation != [1, 1] {
            write!(f, " dilation {},{}", self.dilation[0], self.dilation[1])?;
        }
        if self.padding != [0; 4] {
            let [top, left, bottom, right] = self.padding;
            write!(f, " pad {top},{left},{bottom},{right}")?;
        }
        Ok(())
    }
}

impl Role<Window> for Sliding {
    const PLACE: Place = Place::Operand;

    fn check(value: &Window) -> Check {
        let fields = [value.kernel, value.stride, value.dilation].concat();
        require(fields.iter().all(|&v| (1..=MAX_EXTENT).contains(&v)), || format!("{fields:?}; each must be >= 1"))?;
        require(value.padding.iter().all(|&p| p <= MAX_EXTENT), || {
            format!("padding {:?} is out of range", value.padding)
        })
    }
}

impl Field for Destination {
    const LEAST_BYTES: usize = 16;

    fn decode(words: &mut Words, _: &'static str) -> Result<Self, FormatError> {
        let (logits, y) = (words.flag("logits")?, words.u32()?);
        if logits {
            let order = Field::decode(words, "order")?;
            return if words.u32()? == 0 {
                Ok(Destination::Logits { y: FloatId(y), order })
            } else {
                Err(words.error("the last word of logits must be zero"))
            };
        }
        let (lo, hi) = (words.u8("lo")?, words.u8("hi")?);
        Ok(Destination::Codes { y: TensorId(y), lo, hi })
    }

    #[cfg(feature = "encode")]
    fn encode(&self, sink: &mut WordSink) {
        match *self {
            Destination::Codes { y, lo, hi } => sink.array(&[0, y.0, lo.into(), hi.into()]),
            Destination::Logits { y, order } => {
                sink.array(&[1, y.0]);
                order.encode(sink);
                sink.u32(0);
            }
        }
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Codes { y, .. } => y.show(f),
            Destination::Logits { y, .. } => y.show(f),
        }
    }
}

impl Role<Destination> for Writes {
    const PLACE: Place = Place::Result;

    fn check(value: &Destination) -> Check {
        match *value {
            Destination::Codes { lo, hi, .. } => clamp(lo, hi),
            Destination::Logits { .. } => Ok(()),
        }
    }

    fn operands(value: &Destination, visit: &mut dyn FnMut(Operand)) {
        match *value {
            Destination::Codes { y, .. } => visit(Operand::Writes(y)),
            Destination::Logits { y, .. } => visit(Operand::WritesFloats(y)),
        }
    }
}

/// Checks that a clamp leaves a code.
pub(crate) fn clamp(lo: u8, hi: u8) -> Check {
    require(lo <= hi, || format!("clamp {lo}..={hi} is empty"))
}

/// Enumerations without fields: the word and the text of each variant.
macro_rules! choice {
    ($($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal $label:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// Its word in text forms.
            pub fn label(self) -> &'static str {
                match self {
                    $($name::$variant => $label,)*
                }
            }
        }

        impl $crate::ops::field::Field for $name {
            fn decode(words: &mut $crate::format::Words, name: &'static str) -> Result<Self, $crate::FormatError> {
                match words.u32()? {
                    $($word => Ok($name::$variant),)*
                    other => Err(words.error(format!("{name} {other} is unknown"))),
                }
            }

            #[cfg(feature = "encode")]
            fn encode(&self, sink: &mut $crate::format::WordSink) {
                sink.u32(match self {
                    $($name::$variant => $word,)*
                });
            }

            fn show(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.label())
            }
        }

        impl $crate::ops::field::Role<$name> for $crate::ops::field::Choice {}
    )*};
}

pub(crate) use choice;
