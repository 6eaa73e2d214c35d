//! Budgets of an artifact: flags and the units of their values.

use clap::Args;
use releqc_passes::compile::{Budget, Quantity};

/// What the artifact may take; `--bits` only checks them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Budgets {
    /// Largest plain mean of the widths
    #[arg(long, value_name = "BITS", value_parser = parse_bits)]
    average_bits: Option<f64>,
    /// Largest artifact, such as 200kB or 256KiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_size: Option<f64>,
    /// Most memory for values while the artifact runs; widths do not change it
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_ram: Option<f64>,
    /// Longest time of a sample on one thread of this machine, such as 800us or 2ms
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    max_latency: Option<f64>,
    /// Most cycles of the simulated accelerator
    #[arg(long, value_name = "N", value_parser = parse_cycles)]
    max_cycles: Option<f64>,
    /// Most energy of the simulated accelerator, such as 500nJ or 2uJ
    #[arg(long, value_name = "ENERGY", value_parser = parse_energy)]
    max_energy: Option<f64>,
}

impl Budgets {
    /// The budgets that are given.
    pub(crate) fn given(&self) -> Vec<Budget> {
        let all = [
            (Quantity::AverageBits, self.average_bits),
            (Quantity::Size, self.max_size),
            (Quantity::Ram, self.max_ram),
            (Quantity::Latency, self.max_latency),
            (Quantity::Cycles, self.max_cycles),
            (Quantity::Energy, self.max_energy),
        ];
        all.into_iter().filter_map(|(quantity, limit)| Some(Budget { quantity, limit: limit? })).collect()
    }
}

/// A number above 0 and one of `units`, each with what it is worth; "" is the unit of a bare number.
fn parse(text: &str, units: &[(&str, f64)], example: &str) -> Result<f64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let worth = units.iter().find(|(unit, _)| unit.eq_ignore_ascii_case(&text[digits.len()..]));
    let number = digits.trim_end().parse::<f64>().ok().zip(worth).map(|(number, (_, worth))| number * worth);
    number.filter(|n| n.is_finite() && *n > 0.0).ok_or_else(|| format!("{example} is required"))
}

fn parse_bits(text: &str) -> Result<f64, String> {
    parse(text, &[("", 1.0)], "a number of bits above 0")
}

fn parse_cycles(text: &str) -> Result<f64, String> {
    parse(text, &[("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)], "a number of cycles above 0")
}

fn parse_bytes(text: &str) -> Result<f64, String> {
    let [kibi, mebi, gibi] = [10, 20, 30].map(|shift: u32| (1u64 << shift) as f64);
    let binary = [("KiB", kibi), ("MiB", mebi), ("GiB", gibi)];
    let units = [("", 1.0), ("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)];
    parse(text, &[&units[..], &binary].concat(), "a size such as 200kB or 256KiB")
}

/// Microseconds.
fn parse_time(text: &str) -> Result<f64, String> {
    parse(text, &[("us", 1.0), ("ms", 1e3), ("s", 1e6)], "a time such as 800us or 2ms")
}

/// Picojoules.
fn parse_energy(text: &str) -> Result<f64, String> {
    let units = [("pJ", 1.0), ("nJ", 1e3), ("uJ", 1e6), ("mJ", 1e9), ("J", 1e12)];
    parse(text, &units, "an energy such as 500nJ or 2uJ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_units() {
        assert_eq!(parse_bytes("256KiB"), Ok(262_144.0));
        assert_eq!([parse_bytes("200kB"), parse_bytes("1.5 MB"), parse_bytes("77")], [Ok(200e3), Ok(1.5e6), Ok(77.0)]);
        assert_eq!([parse_time("2ms"), parse_time("800us"), parse_time("1s")], [Ok(2e3), Ok(800.0), Ok(1e6)]);
        assert_eq!([parse_energy("2uJ"), parse_energy("5pJ")], [Ok(2e6), Ok(5.0)]);
        assert_eq!([parse_bits("3.25"), parse_cycles("20k")], [Ok(3.25), Ok(20e3)]);
        for bad in ["", "KiB", "-1", "0", "nan", "inf", "3 apples"] {
            assert!(parse_bytes(bad).is_err() && parse_bits(bad).is_err(), "{bad}");
        }
        assert!(parse_time("2").is_err(), "a bare number has no unit");
    }
}
