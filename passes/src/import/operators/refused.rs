//! ONNX operators that are refused in any form, each with its reason.
//!
//! Takes nothing; what is neither here nor among the rules is no operator of ONNX, or of another domain that is not known.

const DYNAMIC: &str = "how many results it has depends on the network's input";
const LOOP: &str = "how often its body runs may depend on the network's input";
const RANDOM: &str = "its results are random; a network gives the same results for the same input";
const TEXT: &str = "it works on text; only numbers are supported";
const TRAINING: &str = "it is a part of training; only inference is supported";
const TREES: &str = "trees of this form are not supported; TreeEnsembleClassifier and TreeEnsembleRegressor are";
const VECTORS: &str = "support vectors are not supported";
const BITS: &str = "it works on the bits of integers; values are floats and codes inside";
const REGIONS: &str = "the regions that it reads depend on the network's input";

/// Operator, with its domain where that is not the default one, and why it is refused; in alphabetical order.
pub(in crate::import) const REFUSED: &[(&str, &str)] = &[
    ("Bernoulli", RANDOM),
    ("BitCast", BITS),
    ("BitShift", BITS),
    ("BitwiseAnd", BITS),
    ("BitwiseNot", BITS),
    ("BitwiseOr", BITS),
    ("BitwiseXor", BITS),
    ("DeformConv", REGIONS),
    ("Det", "determinants are not supported"),
    ("ImageDecoder", "it decodes files; the network's input must be pixels"),
    ("LinearAttention", LOOP),
    ("Loop", LOOP),
    ("MaxRoiPool", REGIONS),
    ("MaxUnpool", "it needs the places of a MaxPool, which gives values only"),
    ("Multinomial", RANDOM),
    ("NegativeLogLikelihoodLoss", TRAINING),
    ("NonMaxSuppression", DYNAMIC),
    ("RandomNormal", RANDOM),
    ("RandomNormalLike", RANDOM),
    ("RandomUniform", RANDOM),
    ("RandomUniformLike", RANDOM),
    ("RegexFullMatch", TEXT),
    ("RoiAlign", REGIONS),
    ("Scan", LOOP),
    ("SequenceMap", LOOP),
    ("SoftmaxCrossEntropyLoss", TRAINING),
    ("StringConcat", TEXT),
    ("StringNormalizer", TEXT),
    ("StringSplit", TEXT),
    ("TensorScatter", "where it writes depends on the network's input"),
    ("TfIdfVectorizer", TEXT),
    ("Unique", DYNAMIC),
    ("ai.onnx.ml.CastMap", "maps are not supported"),
    ("ai.onnx.ml.CategoryMapper", TEXT),
    ("ai.onnx.ml.DictVectorizer", "maps are not supported"),
    ("ai.onnx.ml.LabelEncoder", TEXT),
    ("ai.onnx.ml.OneHotEncoder", TEXT),
    ("ai.onnx.ml.SVMClassifier", VECTORS),
    ("ai.onnx.ml.SVMRegressor", VECTORS),
    ("ai.onnx.ml.TreeEnsemble", TREES),
    ("ai.onnx.preview.FlexAttention", "the graphs inside it are not inlined"),
    ("ai.onnx.preview.training.Adagrad", TRAINING),
    ("ai.onnx.preview.training.Adam", TRAINING),
    ("ai.onnx.preview.training.Gradient", TRAINING),
    ("ai.onnx.preview.training.Momentum", TRAINING),
];

/// Why an operator is refused, where it is known.
pub(super) fn reason(operator: &str) -> Option<&'static str> {
    let place = REFUSED.binary_search_by_key(&operator, |(name, _)| name).ok()?;
    Some(REFUSED[place].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_no_rule_is_in_it() {
        assert!(REFUSED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let both: Vec<&str> =
            REFUSED.iter().map(|(name, _)| *name).filter(|name| super::super::find(name).is_some()).collect();
        assert!(both.is_empty(), "{both:?}");
        assert_eq!(reason("Scan"), Some(LOOP));
        assert_eq!(reason("Conv"), None);
    }
}
