//! ONNX files for the tests, encoded field by field: independent of the compiler's own reader and writer.

/// A message of protocol buffers under construction.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value.cast_unsigned());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }
}

/// A network from input `x` under construction.
pub(crate) struct Net {
    graph: Message,
    /// State of the generator of weights.
    state: u64,
}

impl Net {
    pub(crate) fn new(name: &str, input: &[i64]) -> Self {
        let mut net = Net { graph: Message::default().text(2, name), state: 1 };
        net.graph = net.graph.message(11, &value("x", Some(input)));
        net
    }

    /// Weights in -scale..scale under `name`.
    pub(crate) fn weights(mut self, name: &str, dims: &[i64], scale: f32) -> Self {
        let mut tensor = Message::default();
        for &dim in dims {
            tensor = tensor.int(1, dim);
        }
        let count = dims.iter().product::<i64>();
        let mut next = || {
            self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
        };
        let raw: Vec<u8> = (0..count).flat_map(|_| next().to_le_bytes()).collect();
        let tensor = tensor.int(2, 1).text(8, name).bytes(9, &raw);
        self.graph = self.graph.message(5, &tensor);
        self
    }

    /// These weights under `name`.
    pub(crate) fn tensor(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let tensor = dims.iter().fold(Message::default(), |tensor, &dim| tensor.int(1, dim));
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph = self.graph.message(5, &tensor.int(2, 1).text(8, name).bytes(9, &raw));
        self
    }

    /// A node named as its output, with attributes of integers.
    pub(crate) fn node(mut self, op: &str, inputs: &[&str], output: &str, ints: &[(&str, &[i64])]) -> Self {
        let mut node = Message::default();
        for input in inputs {
            node = node.text(1, input);
        }
        node = node.text(2, output).text(3, output).text(4, op);
        for (name, values) in ints {
            let mut attribute = Message::default().text(1, name).int(20, 7);
            for &v in *values {
                attribute = attribute.int(8, v);
            }
            node = node.message(5, &attribute);
        }
        self.graph = self.graph.message(1, &node);
        self
    }

    /// The bytes of the model with these outputs.
    pub(crate) fn finish(mut self, outputs: &[&str]) -> Vec<u8> {
        for output in outputs {
            self.graph = self.graph.message(12, &value(output, None));
        }
        let opset = Message::default().text(1, "").int(2, 13);
        Message::default().int(1, 8).message(8, &opset).message(7, &self.graph).0
    }
}

/// A float value with a free batch axis and these extents.
fn value(name: &str, dims: Option<&[i64]>) -> Message {
    let mut tensor = Message::default().int(1, 1);
    if let Some(dims) = dims {
        let mut shape = Message::default().message(1, &Message::default().text(2, "N"));
        for &dim in dims {
            shape = shape.message(1, &Message::default().int(1, dim));
        }
        tensor = tensor.message(2, &shape);
    }
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// Two convolutions with pooling, a residual sum and a classifier over 2x12x12: three weight layers.
pub(crate) fn small() -> Vec<u8> {
    Net::new("small", &[2, 12, 12])
        .weights("w1", &[6, 2, 3, 3], 0.4)
        .weights("b1", &[6], 0.2)
        .weights("w2", &[6, 6, 3, 3], 0.3)
        .weights("w3", &[6 * 6 * 6, 5], 0.2)
        .weights("b3", &[5], 0.5)
        .node("Conv", &["x", "w1", "b1"], "conv1", &[("pads", &[1, 1, 1, 1])])
        .node("Relu", &["conv1"], "relu1", &[])
        .node("MaxPool", &["relu1"], "pool1", &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])])
        .node("Conv", &["pool1", "w2"], "conv2", &[("pads", &[1, 1, 1, 1])])
        .node("Add", &["conv2", "pool1"], "sum", &[])
        .node("Flatten", &["sum"], "flat", &[])
        .node("Gemm", &["flat", "w3", "b3"], "classes", &[])
        .finish(&["classes"])
}

/// Tells samples of `inputs` values whose mean lies above `middle` from others: class 1.
pub(crate) fn brightness(dims: &[i64], middle: f32) -> Vec<u8> {
    let inputs = dims.iter().product::<i64>();
    let scale = 1.0 / inputs as f32;
    let weights: Vec<f32> = (0..inputs).flat_map(|_| [-scale, scale]).collect();
    Net::new("brightness", dims)
        .tensor("w", &[inputs, 2], &weights)
        .tensor("b", &[2], &[middle, -middle])
        .node("Flatten", &["x"], "flat", &[])
        .node("Gemm", &["flat", "w", "b"], "classes", &[])
        .finish(&["classes"])
}

/// A network with an operator that no release supports.
pub(crate) fn unsupported() -> Vec<u8> {
    Net::new("unsupported", &[2, 12, 12]).node("NonMaxSuppression", &["x", "x"], "boxes", &[]).finish(&["boxes"])
}
