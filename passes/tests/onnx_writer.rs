//! Writing a graph as ONNX and importing it gives the graph back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is not as it should be")]

mod common;

use common::{Random, evaluate, nets, shared_models};
use releqc_passes::import::from_onnx;
use releqc_passes::ir::Graph;
use releqc_passes::onnx::{decode_model, metadata, write};
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};

fn imported(graph: &Graph) -> Graph {
    match from_onnx(&write(graph, &[]).unwrap()) {
        Ok(graph) => graph,
        Err(error) => panic!("{graph}{:?}", error.findings()),
    }
}

#[test]
fn a_graph_without_fused_parts_comes_back_as_it_is() {
    for graph in nets::written().into_iter().map(|(graph, _)| graph) {
        assert_eq!(imported(&graph), graph, "{graph}\n{}", imported(&graph));
    }
}

#[test]
fn a_canonical_graph_comes_back_after_canonicalisation() {
    for graph in nets::written().into_iter().map(|(graph, _)| graph) {
        let canonical = canonicalize(graph).unwrap();
        assert_eq!(canonicalize(imported(&canonical)).unwrap(), canonical, "{canonical}");
        let folded = fold_batch_norm(&canonical);
        assert_eq!(canonicalize(imported(&folded)).unwrap(), folded, "{folded}");
    }
}

#[test]
fn random_networks_come_back() {
    let mut random = Random(3);
    for _ in 0..300 {
        let graph = nets::random(&mut random);
        assert_eq!(imported(&graph), graph, "{graph}\n{}", imported(&graph));
        let canonical = canonicalize(graph.clone()).unwrap();
        assert_eq!(canonicalize(canonical.clone()).unwrap(), canonical, "{canonical}");
        let again = canonicalize(imported(&canonical)).unwrap();
        assert_eq!(again, canonical, "{canonical}\n{again}");
        let input = random.floats(graph.input_shape().len());
        let (raw, rewritten) = (evaluate(&graph, &input), evaluate(&fold_batch_norm(&canonical), &input));
        let scale = raw.iter().fold(1.0f32, |a, v| a.max(v.abs()));
        for (a, b) in raw.iter().zip(&rewritten) {
            assert!((a - b).abs() <= 1e-5 * scale, "{a} {b}\n{graph}\n{canonical}");
        }
    }
}

#[test]
fn shared_models_come_back() {
    let Some(folder) = shared_models() else { return };
    for name in [
        "cifar10_resnet20_convsc_bn.onnx",
        "imagenet_mobilenet_v1_025_224_bn.onnx",
        "thirdparty/mnist_jinsoo9595_lenet5.onnx",
    ] {
        let graph = from_onnx(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        assert!(imported(&graph) == graph, "{name}");
        let canonical = canonicalize(graph).unwrap();
        assert!(canonicalize(imported(&canonical)).unwrap() == canonical, "{name}");
    }
}

#[test]
fn metadata_comes_back_in_order_and_bytes_repeat() {
    let graph = &nets::all()[0];
    let pairs = vec![("z".to_owned(), "1".to_owned()), ("a".to_owned(), "{\"bits\": [8, 4]}".to_owned())];
    let bytes = write(graph, &pairs).unwrap();
    assert_eq!(metadata(&decode_model(&bytes).unwrap()), pairs);
    assert_eq!(bytes, write(graph, &pairs).unwrap());
}
