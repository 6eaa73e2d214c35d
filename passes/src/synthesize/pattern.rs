//! Random patterns with the statistics of pictures: smooth fields, strokes and blobs on plain grounds, grain.

use crate::ir::Shape;
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
    let mut field = Vec::with_capacity(height * width);
    for row in 0..height {
        let y = row as f32 * cells as f32 / height as f32;
        let (y0, fy) = (y as usize, y - y.floor());
        for column in 0..width {
            let x = column as f32 * cells as f32 / width as f32;
            let (x0, fx) = (x as usize, x - x.floor());
            let at = |dy: usize, dx: usize| grid[(y0 + dy).min(cells) * (cells + 1) + (x0 + dx).min(cells)];
            let top = at(0, 0) + (at(0, 1) - at(0, 0)) * fx;
            let bottom = at(1, 0) + (at(1, 1) - at(1, 0)) * fx;
            field.push(top + (bottom - top) * fy);
        }
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
    for _ in 0..1 + rng.next_u32() % 6 {
        let to = point(rng);
        if rng.next_u32().is_multiple_of(5) {
            from = point(rng);
        }
        let (dy, dx) = (to.0 - from.0, to.1 - from.1);
        let length = (dy * dy + dx * dx).max(1e-6);
        for row in 0..height {
            for column in 0..width {
                let (y, x) = (row as f32 + 0.5 - from.0, column as f32 + 0.5 - from.1);
                let along = ((y * dy + x * dx) / length).clamp(0.0, 1.0);
                let (ey, ex) = (y - along * dy, x - along * dx);
                let distance = (ey * ey + ex * ex).sqrt();
                let ink = ((radius - distance) / (0.3 * radius).max(0.5) + 0.5).clamp(0.0, 1.0);
                for (c, tint) in tint.iter().enumerate() {
                    let value = &mut pattern[(c * height + row) * width + column];
                    *value = value.max(ink * tint);
                }
            }
        }
        from = to;
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
