//! Random patterns with the statistics of pictures: smooth fields, strokes and blobs on plain grounds, grain.

use crate::ir::Shape;
use crate::simd::{Isa, vectorized};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// Uniform in 0..1, 24 bits.
fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / 16_777_216.0
}

/// A pattern of values 0..=1, (channel, row, column) order.
pub(super) fn random(shape: &Shape, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let [channels, height, width] = rows_and_columns(shape);
    let plane = height * width;
    let mut pattern = vec![0.0; channels * plane];
    match rng.next_u32() % 3 {
        0 => strokes(&mut pattern, channels, height, width, rng),
        1 => fields(&mut pattern, channels, height, width, rng),
        _ => {
            fields(&mut pattern, channels, height, width, rng);
            let mut drawn = vec![0.0; pattern.len()];
            strokes(&mut drawn, channels, height, width, rng);
            pattern.iter_mut().zip(drawn).for_each(|(p, d)| *p += (1.0 - *p) * d);
        }
    }
    grain(&mut pattern, rng);
    pattern
}

/// A child of two patterns: a smooth mask decides where each shows, then a little variation.
pub(super) fn cross(shape: &Shape, mother: &[f32], father: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
    let [channels, height, width] = rows_and_columns(shape);
    let plane = height * width;
    let mask = field(height, width, rng);
    let mut child: Vec<f32> = (0..channels * plane)
        .map(|i| {
            let share = ((mask[i % plane] - 0.5) * 4.0 + 0.5).clamp(0.0, 1.0);
            mother[i] + (father[i] - mother[i]) * share
        })
        .collect();
    match rng.next_u32() % 4 {
        0 => {
            let mut drawn = vec![0.0; child.len()];
            strokes(&mut drawn, channels, height, width, rng);
            let erase = rng.next_u32().is_multiple_of(2);
            child.iter_mut().zip(drawn).for_each(|(c, d)| *c += (if erase { 0.0 } else { 1.0 } - *c) * d);
        }
        1 => child = shifted(&child, channels, height, width, rng),
        2 => grain(&mut child, rng),
        _ => {}
    }
    child
}

/// A vector of features is one row of them.
fn rows_and_columns(shape: &Shape) -> [usize; 3] {
    match shape.chw() {
        [features, 1, 1] => [1, 1, features],
        chw => chw,
    }
}

/// Smooth noise: a coarse random grid, bilinearly enlarged.
fn field(height: usize, width: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let cells = 2 + rng.next_u32() as usize % 7;
    let grid: Vec<f32> = (0..(cells + 1) * (cells + 1)).map(|_| uniform(rng)).collect();
    // The cell that a row or column lies in, and how far.
    let places = |size: usize| -> Vec<(usize, f32)> {
        let place = |at: usize| at as f32 * cells as f32 / size as f32;
        (0..size).map(place).map(|place| (place as usize, place - (place as usize) as f32)).collect()
    };
    let (rows, columns) = (places(height), places(width));
    let mut field = Vec::with_capacity(height * width);
    for (y, fy) in rows {
        let line = |y: usize| &grid[y.min(cells) * (cells + 1)..][..cells + 1];
        let (above, below) = (line(y), line(y + 1));
        field.extend(columns.iter().map(|&(x, fx)| {
            let next = (x + 1).min(cells);
            let top = above[x] + (above[next] - above[x]) * fx;
            let bottom = below[x] + (below[next] - below[x]) * fx;
            top + (bottom - top) * fy
        }));
    }
    field
}

/// A luminance field, and colour fields around it.
fn fields(pattern: &mut [f32], channels: usize, height: usize, width: usize, rng: &mut ChaCha8Rng) {
    let luminance = field(height, width, rng);
    let (contrast, brightness, colour) = (0.5 + uniform(rng), 0.3 + 0.4 * uniform(rng), 0.5 * uniform(rng));
    for c in 0..channels {
        let tint = field(height, width, rng);
        for (i, value) in pattern[c * height * width..][..height * width].iter_mut().enumerate() {
            let v = brightness + (luminance[i] - 0.5) * contrast + (tint[i] - 0.5) * colour;
            *value = v.clamp(0.0, 1.0);
        }
    }
}

/// A few thick line segments with soft edges on a ground of 0.
fn strokes(pattern: &mut [f32], channels: usize, height: usize, width: usize, rng: &mut ChaCha8Rng) {
    let size = height.max(width) as f32;
    let point =
        |rng: &mut ChaCha8Rng| ((0.1 + 0.8 * uniform(rng)) * height as f32, (0.1 + 0.8 * uniform(rng)) * width as f32);
    let tint: Vec<f32> = (0..channels).map(|_| 0.6 + 0.4 * uniform(rng)).collect();
    let radius = size * (0.02 + 0.06 * uniform(rng));
    let mut from = point(rng);
    let isa = Isa::detect();
    for _ in 0..1 + rng.next_u32() % 6 {
        let to = point(rng);
        if rng.next_u32().is_multiple_of(5) {
            from = point(rng);
        }
        let mut ink = vec![0.0; width];
        for row in 0..height {
            ink_of_row(isa, from, to, radius, row, &mut ink);
            for (c, tint) in tint.iter().enumerate() {
                let line = &mut pattern[(c * height + row) * width..][..width];
                line.iter_mut().zip(&ink).for_each(|(value, ink)| *value = value.max(ink * tint));
            }
        }
        from = to;
    }
}

vectorized! {
    /// Ink of a segment between two points (row, column) on each column of a row.
    fn ink_of_row(from: (f32, f32), to: (f32, f32), radius: f32, row: usize, ink: &mut [f32]) {
        let (dy, dx) = (to.0 - from.0, to.1 - from.1);
        let length = (dy * dy + dx * dx).max(1e-6);
        let y = row as f32 + 0.5 - from.0;
        for (column, ink) in ink.iter_mut().enumerate() {
            let x = column as i32 as f32 + 0.5 - from.1;
            let along = ((y * dy + x * dx) / length).clamp(0.0, 1.0);
            let (ey, ex) = (y - along * dy, x - along * dx);
            let distance = (ey * ey + ex * ex).sqrt();
            *ink = ((radius - distance) / (0.3 * radius).max(0.5) + 0.5).clamp(0.0, 1.0);
        }
    }
}

/// A little noise on some patterns.
fn grain(pattern: &mut [f32], rng: &mut ChaCha8Rng) {
    if rng.next_u32().is_multiple_of(2) {
        let amplitude = 0.2 * uniform(rng);
        pattern.iter_mut().for_each(|v| *v = (*v + (uniform(rng) - 0.5) * amplitude).clamp(0.0, 1.0));
    }
}

/// The pattern moved by up to an eighth of its size, its border repeated.
fn shifted(pattern: &[f32], channels: usize, height: usize, width: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let offset = |size: usize, rng: &mut ChaCha8Rng| {
        let reach = (size / 8) as u32;
        (rng.next_u32() % (2 * reach + 1)) as isize - reach as isize
    };
    let (dy, dx) = (offset(height, rng), offset(width, rng));
    let inside = |i: usize, d: isize, size: usize| i.saturating_add_signed(d).min(size - 1);
    let rows = (0..channels).flat_map(|c| (0..height).map(move |row| (c, row)));
    rows.flat_map(|(c, row)| (0..width).map(move |column| (c, row, column)))
        .map(|(c, row, column)| pattern[(c * height + inside(row, dy, height)) * width + inside(column, dx, width)])
        .collect()
}
