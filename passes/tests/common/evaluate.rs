//! A plain executor of float graphs: every operator by its definition, value by value in f64.

use releqc_passes::ir::{AxisMap, BatchNorm, BinaryKind, Clip, Conv, Graph, Node, Op, ReduceKind, Shape, Window};

/// Runs a graph on one sample, value by value in f64, straight from the definitions; all outputs one after the other.
pub fn evaluate(graph: &Graph, input: &[f32]) -> Vec<f32> {
    let mut values: Vec<Vec<f64>> = Vec::new();
    let mut input = input;
    for node in &graph.nodes {
        let mut value = match &node.op {
            Op::Input(_) => {
                let (own, rest) = input.split_at(node.shape.len());
                input = rest;
                own.iter().map(|&v| f64::from(v)).collect()
            }
            Op::Constant(tensor) => tensor.data().iter().map(|&v| f64::from(v)).collect(),
            _ => apply(graph, node, &values),
        };
        if let Some(clip) = node.activation {
            clip_all(&mut value, clip);
        }
        assert_eq!(value.len(), node.shape.len(), "{}", node.name);
        values.push(value);
    }
    graph.outputs.iter().flat_map(|(_, id)| values[id.0].iter().map(|&v| v as f32)).collect()
}

fn apply(graph: &Graph, node: &Node, values: &[Vec<f64>]) -> Vec<f64> {
    let x = &values[node.inputs[0].0];
    let shape = &graph.node(node.inputs[0]).shape;
    match &node.op {
        Op::Input(_) => unreachable!("handled by the caller"),
        Op::Conv(conv) => {
            let image = shape.len() / shape.dims()[0];
            let mut y: Vec<f64> = x.chunks_exact(image).flat_map(|x| convolve(conv, x, shape, &node.shape)).collect();
            normalize(&mut y, conv.batch_norm.as_ref(), node.shape.dims()[2..].iter().product());
            y
        }
        Op::FullyConnected(fc) => {
            let (outputs, inputs) = (fc.weight.dims()[0], fc.weight.dims()[1]);
            let mut y = Vec::new();
            for row in x.chunks_exact(inputs) {
                let mut result: Vec<f64> = (0..outputs)
                    .map(|o| {
                        let weights = &fc.weight.data()[o * inputs..(o + 1) * inputs];
                        let bias = fc.bias.as_ref().map_or(0.0, |b| f64::from(b[o]));
                        bias + weights.iter().zip(row).map(|(&w, v)| f64::from(w) * v).sum::<f64>()
                    })
                    .collect();
                normalize(&mut result, fc.batch_norm.as_ref(), 1);
                y.extend(result);
            }
            y
        }
        Op::BatchNorm(norm) => {
            let mut y = x.clone();
            normalize(&mut y, Some(norm), shape.dims()[2..].iter().product());
            y
        }
        Op::ChannelAffine { mul, add } => {
            let channel = channels(shape);
            x.iter().enumerate().map(|(i, v)| v * f64::from(mul[channel(i)]) + f64::from(add[channel(i)])).collect()
        }
        Op::Clip(clip) => {
            let mut y = x.clone();
            clip_all(&mut y, *clip);
            y
        }
        Op::MaxPool(window) => {
            pool(shape, node, window, x, |seen, _| seen.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        Op::AveragePool { window, count_include_pad } => pool(shape, node, window, x, |seen, taps| {
            seen.iter().sum::<f64>() / if *count_include_pad { taps } else { seen.len() } as f64
        }),
        Op::Unary(function) => x.iter().map(|&v| f64::from(function.eval(v as f32))).collect(),
        Op::PRelu { slope } => {
            let channel = channels(shape);
            x.iter().enumerate().map(|(i, v)| if *v < 0.0 { v * f64::from(slope[channel(i)]) } else { *v }).collect()
        }
        Op::Binary(kind) => {
            let (a, b) = (spread(graph, node, values, 0), spread(graph, node, values, 1));
            a.iter().zip(&b).map(|(&a, &b)| binary(*kind, a, b)).collect()
        }
        Op::Select => {
            let [c, a, b] = [0, 1, 2].map(|operand| spread(graph, node, values, operand));
            (0..c.len()).map(|i| if c[i] != 0.0 { a[i] } else { b[i] }).collect()
        }
        Op::Concat { axis } => {
            let outer: usize = shape.dims()[..*axis].iter().product();
            let parts = |at: usize| {
                node.inputs.iter().flat_map(move |input| {
                    let part = &values[input.0];
                    part[at * part.len() / outer..(at + 1) * part.len() / outer].iter().copied()
                })
            };
            (0..outer).flat_map(parts).collect()
        }
        Op::Transpose { perm } => positions(&node.shape)
            .map(|at| {
                let mut from = vec![0; at.len()];
                perm.iter().zip(&at).for_each(|(&axis, &at)| from[axis] = at);
                x[flat(&from, shape)]
            })
            .collect(),
        Op::Gather { maps, fill } => positions(&node.shape)
            .map(|at| {
                let from: Option<Vec<usize>> = maps.iter().zip(&at).map(|(map, &at)| AxisMap::at(map, at)).collect();
                from.map_or(f64::from(*fill), |from| x[flat(&from, shape)])
            })
            .collect(),
        Op::Reduce { kind, axes } => {
            let mut rows = vec![Vec::new(); node.shape.len()];
            for (i, mut at) in positions(shape).enumerate() {
                axes.iter().for_each(|&axis| at[axis] = 0);
                rows[flat(&at, &node.shape)].push(x[i]);
            }
            rows.iter().map(|row| reduce(*kind, row)).collect()
        }
        Op::MatMul => {
            let other = &graph.node(node.inputs[1]).shape;
            let y = &values[node.inputs[1].0];
            let rank = node.shape.rank();
            let inner = shape.dims()[shape.rank() - 1];
            positions(&node.shape)
                .map(|at| {
                    let side = |shape: &Shape, row: usize, column: usize| {
                        let mut from = at.clone();
                        (from[rank - 2], from[rank - 1]) = (row, column);
                        broadcast_flat(&from, shape)
                    };
                    (0..inner).map(|k| x[side(shape, at[rank - 2], k)] * y[side(other, k, at[rank - 1])]).sum()
                })
                .collect()
        }
        Op::Reshape => x.clone(),
        Op::Softmax { axis, log } => {
            let (len, inner) = (shape.dims()[*axis], shape.dims()[axis + 1..].iter().product::<usize>());
            let mut y = x.clone();
            for (group, first) in (0..x.len() / (len * inner)).flat_map(|g| (0..inner).map(move |i| (g, i))) {
                let place = |k: usize| group * len * inner + k * inner + first;
                let max = (0..len).map(|k| x[place(k)]).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..len).map(|k| (x[place(k)] - max).exp()).sum();
                for k in 0..len {
                    let v = x[place(k)] - max;
                    y[place(k)] = if *log { v - sum.ln() } else { v.exp() / sum };
                }
            }
            y
        }
        Op::Resample { axis, taps } => positions(&node.shape)
            .map(|at| {
                let tap = |&(index, weight): &(usize, f32)| {
                    let mut from = at.clone();
                    from[*axis] = index;
                    x[flat(&from, shape)] * f64::from(weight)
                };
                taps[at[*axis]].iter().map(tap).sum()
            })
            .collect(),
        Op::Lookup { table } => {
            let width = table.data().len() / table.dims()[0];
            let row = |&v: &f64| table.data()[v as usize * width..][..width].iter().map(|&v| f64::from(v));
            x.iter().flat_map(row).collect()
        }
        other => unreachable!("{} is not in these graphs", other.label()),
    }
}

/// A convolution of one image, without its batch normalisation.
fn convolve(conv: &Conv, x: &[f64], from: &Shape, to: &Shape) -> Vec<f64> {
    let (h, w, oh, ow) = (from.dims()[2], from.dims()[3], to.dims()[2], to.dims()[3]);
    let dims = conv.weight.dims();
    let (outputs, per_group, kh, kw) = (dims[0], dims[1], dims[2], dims[3]);
    let mut y = vec![0.0; outputs * oh * ow];
    for o in 0..outputs {
        let first = o / (outputs / conv.groups) * per_group;
        let bias = conv.bias.as_ref().map_or(0.0, |b| f64::from(b[o]));
        let out = &mut y[o * oh * ow..(o + 1) * oh * ow];
        out.fill(bias);
        for i in 0..per_group {
            let plane = &x[(first + i) * h * w..(first + i + 1) * h * w];
            for (index, &weight) in conv.weight.data()[(o * per_group + i) * kh * kw..][..kh * kw].iter().enumerate() {
                for row in 0..oh {
                    let Some(r) = tap(&conv.window, 0, row, index / kw, h) else { continue };
                    for column in 0..ow {
                        if let Some(c) = tap(&conv.window, 1, column, index % kw, w) {
                            out[row * ow + column] += plane[r * w + c] * f64::from(weight);
                        }
                    }
                }
            }
        }
    }
    y
}

/// The row or column of the image that a tap reads.
pub(super) fn tap(window: &Window, axis: usize, position: usize, tap: usize, size: usize) -> Option<usize> {
    let leading = [window.padding.top, window.padding.left][axis];
    (position * window.stride[axis] + tap * window.dilation[axis]).checked_sub(leading).filter(|&i| i < size)
}

fn pool(shape: &Shape, node: &Node, window: &Window, x: &[f64], reduce: impl Fn(&[f64], usize) -> f64) -> Vec<f64> {
    let (planes, h, w) = (shape.dims()[0] * shape.dims()[1], shape.dims()[2], shape.dims()[3]);
    let (oh, ow) = (node.shape.dims()[2], node.shape.dims()[3]);
    let mut y = Vec::new();
    for c in 0..planes {
        for row in 0..oh {
            for column in 0..ow {
                let mut seen = Vec::new();
                for index in 0..window.kernel[0] * window.kernel[1] {
                    let r = tap(window, 0, row, index / window.kernel[1], h);
                    let k = tap(window, 1, column, index % window.kernel[1], w);
                    if let (Some(r), Some(k)) = (r, k) {
                        seen.push(x[(c * h + r) * w + k]);
                    }
                }
                y.push(reduce(&seen, window.kernel[0] * window.kernel[1]));
            }
        }
    }
    y
}

fn normalize(y: &mut [f64], norm: Option<&BatchNorm>, cells: usize) {
    let Some(norm) = norm else { return };
    for (i, v) in y.iter_mut().enumerate() {
        let c = i / cells % norm.gamma.len();
        let deviation = (f64::from(norm.variance[c]) + f64::from(norm.epsilon)).sqrt();
        *v = (*v - f64::from(norm.mean[c])) / deviation * f64::from(norm.gamma[c]) + f64::from(norm.beta[c]);
    }
}

fn clip_all(y: &mut [f64], clip: Clip) {
    for v in y {
        *v = v.max(f64::from(clip.min)).min(f64::from(clip.max));
    }
}

/// The position on axis 1 of an element.
fn channels(shape: &Shape) -> impl Fn(usize) -> usize {
    let cells: usize = shape.dims()[2..].iter().product();
    let channels = shape.dims()[1];
    move |i| i / cells % channels
}

pub(super) fn positions(shape: &Shape) -> impl Iterator<Item = Vec<usize>> {
    let dims = shape.dims().to_vec();
    (0..shape.len()).map(move |mut rest| {
        let mut at = vec![0; dims.len()];
        for axis in (0..dims.len()).rev() {
            at[axis] = rest % dims[axis];
            rest /= dims[axis];
        }
        at
    })
}

pub(super) fn flat(at: &[usize], shape: &Shape) -> usize {
    at.iter().zip(shape.dims()).fold(0, |flat, (at, extent)| flat * extent + at)
}

/// The element of an operand that broadcasts, at a position of the result.
pub(super) fn broadcast_flat(at: &[usize], shape: &Shape) -> usize {
    let own = &at[at.len() - shape.rank()..];
    let own: Vec<usize> = own.iter().zip(shape.dims()).map(|(&at, &extent)| if extent == 1 { 0 } else { at }).collect();
    flat(&own, shape)
}

fn spread(graph: &Graph, node: &Node, values: &[Vec<f64>], operand: usize) -> Vec<f64> {
    let input = node.inputs[operand];
    let shape = &graph.node(input).shape;
    positions(&node.shape).map(|at| values[input.0][broadcast_flat(&at, shape)]).collect()
}

fn binary(kind: BinaryKind, a: f64, b: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match kind {
        BinaryKind::Add => a + b,
        BinaryKind::Sub => a - b,
        BinaryKind::Mul => a * b,
        BinaryKind::Div => a / b,
        BinaryKind::Min => a.min(b),
        BinaryKind::Max => a.max(b),
        BinaryKind::Pow => a.powf(b),
        BinaryKind::Mod => a - (a / b).floor() * b,
        BinaryKind::Fmod => a % b,
        BinaryKind::Less => truth(a < b),
        BinaryKind::LessOrEqual => truth(a <= b),
        BinaryKind::Greater => truth(a > b),
        BinaryKind::GreaterOrEqual => truth(a >= b),
        BinaryKind::Equal => truth(a == b),
        BinaryKind::And => truth(a != 0.0 && b != 0.0),
        BinaryKind::Or => truth(a != 0.0 || b != 0.0),
        BinaryKind::Xor => truth((a != 0.0) != (b != 0.0)),
        BinaryKind::PRelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
    }
}

fn reduce(kind: ReduceKind, row: &[f64]) -> f64 {
    let sum = |f: fn(f64) -> f64| row.iter().map(|&v| f(v)).sum::<f64>();
    let best = |better: fn(f64, f64) -> bool| {
        (1..row.len()).fold(0, |best, i| if better(row[i], row[best]) { i } else { best }) as f64
    };
    match kind {
        ReduceKind::Mean => sum(|v| v) / row.len() as f64,
        ReduceKind::Sum => sum(|v| v),
        ReduceKind::Max => row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ReduceKind::Min => row.iter().copied().fold(f64::INFINITY, f64::min),
        ReduceKind::Prod => row.iter().product(),
        ReduceKind::L1 => sum(f64::abs),
        ReduceKind::L2 => sum(|v| v * v).sqrt(),
        ReduceKind::SumSquare => sum(|v| v * v),
        ReduceKind::LogSum => sum(|v| v).ln(),
        ReduceKind::LogSumExp => sum(f64::exp).ln(),
        ReduceKind::ArgMax => best(|a, b| a > b),
        ReduceKind::ArgMin => best(|a, b| a < b),
        ReduceKind::ArgMaxLast => best(|a, b| a >= b),
        ReduceKind::ArgMinLast => best(|a, b| a <= b),
    }
}
