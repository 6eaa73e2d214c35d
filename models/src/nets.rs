//! The networks of the zoo.

use crate::GraphBuilder;
use releqc_passes::ir::{Clip, Graph, Shape};

/// A test network of the zoo: file name without extension, and what makes it.
pub type TestNet = (&'static str, fn() -> Graph);

/// The small nets of the tests; together they hold every operator of the IR.
pub const TEST_NETS: [TestNet; 3] =
    [("tiny_chain", tiny_chain), ("tiny_residual", tiny_residual), ("tiny_branches", tiny_branches)];

/// The paper's LeNet (Caffe): conv 20@5x5, max-pool 2, conv 50@5x5, max-pool 2, fc 500, ReLU, fc 10, on 1x28x28.
pub fn lenet(seed: u64) -> Graph {
    let (mut net, x) = GraphBuilder::new("lenet", Shape::image(1, 28, 28), seed);
    let x = net.conv("conv1", x, 20, 5, 1, 0);
    let x = net.max_pool("pool1", x, 2, 2);
    let x = net.conv("conv2", x, 50, 5, 1, 0);
    let x = net.max_pool("pool2", x, 2, 2);
    let x = net.flatten("flatten", x);
    let x = net.fully_connected("fc1", x, 500);
    let x = net.clip("relu1", x, Clip::RELU);
    let y = net.fully_connected("fc2", x, 10);
    net.finish(y)
}

/// Conv, batch normalisation, ReLU, pooling, fully connected, softmax, one after the other.
pub fn tiny_chain() -> Graph {
    let (mut net, x) = GraphBuilder::new("tiny_chain", Shape::image(1, 12, 12), 1);
    let x = net.conv("conv1", x, 6, 3, 1, 1);
    let x = net.batch_norm("bn1", x);
    let x = net.clip("relu1", x, Clip::RELU);
    let x = net.max_pool("pool1", x, 2, 2);
    let x = net.conv("conv2", x, 10, 3, 1, 0);
    let x = net.clip("relu2", x, Clip::RELU);
    let x = net.flatten("flatten", x);
    let x = net.fully_connected("fc1", x, 20);
    let x = net.clip("relu3", x, Clip::RELU);
    let x = net.fully_connected("fc2", x, 5);
    let y = net.softmax("softmax", x);
    net.finish(y)
}

/// A residual block, a depthwise block with ReLU6, global average pooling.
pub fn tiny_residual() -> Graph {
    let (mut net, x) = GraphBuilder::new("tiny_residual", Shape::image(3, 16, 16), 2);
    let x = net.conv("stem", x, 8, 3, 1, 1);
    let x = net.batch_norm("stem_bn", x);
    let entry = net.clip("stem_relu", x, Clip::RELU);
    let x = net.conv("block_a", entry, 8, 3, 1, 1);
    let x = net.batch_norm("block_a_bn", x);
    let x = net.clip("block_a_relu", x, Clip::RELU);
    let x = net.conv("block_b", x, 8, 3, 1, 1);
    let x = net.batch_norm("block_b_bn", x);
    let x = net.add("sum", x, entry);
    let x = net.clip("sum_relu", x, Clip::RELU);
    let x = net.grouped_conv("depthwise", x, 8, 3, 2, 1, 8);
    let x = net.clip("depthwise_relu6", x, Clip { min: 0.0, max: 6.0 });
    let x = net.conv("pointwise", x, 16, 1, 1, 0);
    let x = net.clip("pointwise_relu6", x, Clip { min: 0.0, max: 6.0 });
    let x = net.global_average_pool("pool", x);
    let x = net.flatten("flatten", x);
    let y = net.fully_connected("classes", x, 10);
    net.finish(y)
}

/// Two branches joined by a concat, a batch normalisation that cannot fold, grouped convolution, padded average pooling.
pub fn tiny_branches() -> Graph {
    let (mut net, input) = GraphBuilder::new("tiny_branches", Shape::image(2, 10, 10), 3);
    let a = net.conv("left", input, 6, 3, 1, 1);
    let a = net.clip("left_relu", a, Clip::RELU);
    let b = net.conv("right", input, 6, 1, 1, 0);
    let b = net.clip("right_relu", b, Clip::RELU);
    let x = net.concat("join", &[a, b]);
    let x = net.batch_norm("join_bn", x);
    let x = net.grouped_conv("grouped", x, 12, 3, 1, 1, 3);
    let x = net.clip("grouped_relu", x, Clip::RELU);
    let x = net.average_pool("pool", x, 3, 2, 1);
    let x = net.flatten("flatten", x);
    let y = net.fully_connected("classes", x, 4);
    net.finish(y)
}
