//! Every stage of a compilation as text, for the zoo's test nets: what a change of the compiler changes shows here.
#![allow(clippy::unwrap_used, reason = "a test")]

use insta::assert_snapshot;
use releqc_models::TEST_NETS;
use releqc_passes::compile::{CompileOptions, Compiled, Hooks, Retrain, WidthPolicy, compile};
use releqc_passes::ir::Graph;
use releqc_passes::onnx;
use releqc_runtime::BitWidth;

fn compiled(model: &[u8], options: &CompileOptions) -> Compiled {
    let mut hooks = Hooks { events: &mut |_| (), interrupted: &|| false, remaining: &|| None };
    compile(model, None, options, &mut hooks).unwrap()
}

/// Widths 2, 3, .. 8, 2, .. over the layers, so that every width occurs.
fn options(graph: &Graph) -> CompileOptions {
    let widths = (0..graph.weight_layers().len()).map(|i| BitWidth::new(2 + (i % 7) as u8).unwrap()).collect();
    CompileOptions {
        widths: WidthPolicy::PerLayer(widths),
        retrain: Retrain::None,
        annotated: true,
        ..CompileOptions::default()
    }
}

#[test]
fn stages_of_the_test_nets() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| {
        for (name, net) in TEST_NETS {
            let graph = net();
            let result = compiled(&onnx::write(&graph, &[]).unwrap(), &options(&graph));
            let text: String = result.stages.iter().map(|(stage, text)| format!("== {stage}\n{text}\n")).collect();
            assert_snapshot!(format!("stages_{name}"), text);
        }
    });
}

#[test]
fn the_same_compile_gives_the_same_bytes_and_so_does_the_annotated_network() {
    for (name, net) in TEST_NETS {
        let graph = net();
        let model = onnx::write(&graph, &[]).unwrap();
        let (first, second) = (compiled(&model, &options(&graph)), compiled(&model, &options(&graph)));
        assert_eq!(first.artifact, second.artifact, "{name}");
        let annotated = first.annotated.expect("it was asked for");
        let again = compiled(&annotated, &CompileOptions::default());
        assert!(again.artifact == first.artifact, "{name}: the annotated network compiles to other bytes");
    }
}

#[test]
fn the_zoo_holds_what_its_generators_make() {
    for (name, net) in TEST_NETS {
        let path = format!("{}/../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        assert!(
            std::fs::read(&path).unwrap() == onnx::write(&net(), &[]).unwrap(),
            "{path}: run the generate example of releqc-models"
        );
    }
}
