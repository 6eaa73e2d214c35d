//! Plots as SVG. Dots can be pointed at: each carries what it stands for as its title.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::fmt::{Display, Write};

/// Extents in units of the drawing; a browser scales it to its place.
const SIZE: (u32, u32) = (560, 340);
const FONT: &str = "sans-serif";
const FONT_SIZE: i32 = 14;
/// Room beyond the outermost values, as a share of what they span.
const ROOM: f64 = 0.06;
const DOT: i32 = 4;
/// Dots are easier to hit than to see.
const HIT: i32 = 8;

/// A colour that can be told from the background, light or dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour(pub(super) [u8; 3]);

impl Colour {
    fn rgb(self) -> RGBColor {
        let Colour([r, g, b]) = self;
        RGBColor(r, g, b)
    }
}

impl Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Colour([r, g, b]) = self;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

/// A dot.
#[derive(Clone, Debug)]
pub(super) struct Dot {
    pub(super) at: (f64, f64),
    pub(super) colour: Colour,
    pub(super) title: String,
    /// Larger, with a ring.
    pub(super) marked: bool,
}

/// A line through points.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) points: Vec<(f64, f64)>,
    pub(super) colour: Colour,
}

/// What a plot shows.
#[derive(Clone, Debug)]
pub(super) struct Plot<'a> {
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) lines: Vec<Line>,
    pub(super) dots: Vec<Dot>,
}

impl Plot<'_> {
    /// The drawing as an `svg` element; empty where there is nothing to show.
    ///
    /// # Errors
    /// What the drawing library says.
    pub(super) fn svg(&self) -> Result<String, String> {
        let points: Vec<(f64, f64)> = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().copied())
            .chain(self.dots.iter().map(|d| d.at))
            .collect();
        if points.is_empty() {
            return Ok(String::new());
        }
        let mut svg = String::new();
        let hits = self.draw(&mut svg, &points).map_err(|error| format!("plot of {}: {error}", self.y))?;
        let svg = svg.strip_suffix("</svg>\n").or(svg.strip_suffix("</svg>")).unwrap_or(&svg);
        // The extents are those of the place it stands in.
        let svg = svg.replacen(&format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1), "role=\"img\" ", 1);
        Ok(format!("{svg}{hits}</svg>\n"))
    }

    /// Draws, and yields the elements that lie above the dots.
    fn draw(&self, svg: &mut String, points: &[(f64, f64)]) -> Result<String, Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let spans = [spread(points.iter().map(|p| p.0)), spread(points.iter().map(|p| p.1))];
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(52)
            .y_label_area_size(74)
            .build_cartesian_2d(spans[0].clone(), spans[1].clone())?;
        let text = (FONT, FONT_SIZE);
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .label_style(text)
            .axis_desc_style(text)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.15))
            .x_labels(7)
            .x_label_formatter(&|&at| tick(at))
            .y_labels(6)
            .draw()?;
        for line in &self.lines {
            chart.draw_series(LineSeries::new(line.points.iter().copied(), line.colour.rgb().stroke_width(2)))?;
        }
        let mut hits = String::new();
        for dot in &self.dots {
            mark(&mut chart, dot)?;
            let (x, y) = chart.plotting_area().map_coordinate(&dot.at);
            let title = super::escaped(&dot.title);
            let _ = writeln!(
                hits,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"{HIT}\" fill=\"transparent\"><title>{title}</title></circle>"
            );
        }
        area.present()?;
        Ok(hits)
    }
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn mark(chart: &mut Chart<'_, '_>, dot: &Dot) -> Result<(), Box<dyn std::error::Error>> {
    let colour = dot.colour.rgb();
    let style = if dot.marked { colour.filled() } else { colour.mix(0.65).filled() };
    chart.draw_series([Circle::new(dot.at, if dot.marked { DOT + 2 } else { DOT }, style)])?;
    if dot.marked {
        chart.draw_series([Circle::new(dot.at, DOT + 6, colour.stroke_width(2))])?;
    }
    Ok(())
}

/// A number on the axis of counts and widths, without zeros behind the point.
fn tick(at: f64) -> String {
    let text = format!("{at:.2}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => "0".into(),
        shown => shown.into(),
    }
}

/// From the least to the greatest value, with some room; never empty.
fn spread(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = ((high - low) * ROOM).max(high.abs().max(1.0) * 1e-3);
    low - room..high + room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_no_point() {
        assert_eq!([20.0, 2.5, 0.25, -0.001, 0.0].map(tick), ["20", "2.5", "0.25", "0", "0"]);
    }

    #[test]
    fn a_plot_has_its_dots_with_titles_and_no_extents_of_its_own() {
        let dot = Dot { at: (4.0, 0.5), colour: Colour([47, 126, 216]), title: "4,<4>".into(), marked: true };
        let line = Line { points: vec![(2.0, 3.0), (8.0, 0.0)], colour: Colour([128; 3]) };
        let plot = Plot { x: "bits", y: "points", lines: vec![line], dots: vec![dot] };
        let svg = plot.svg().unwrap();
        assert!(svg.starts_with("<svg role=\"img\" viewBox"), "{}", &svg[..80]);
        assert!(svg.contains("<title>4,&lt;4&gt;</title>") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg, plot.svg().unwrap());
        assert_eq!(Plot { x: "", y: "", lines: vec![], dots: vec![] }.svg().unwrap(), "");
    }
}
