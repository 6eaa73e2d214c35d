//! Banks of the buffers: with enough of them nothing waits, with fewer the cycles follow the rule of docs/accelerator.md.
#![cfg(feature = "encode")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared by tests")]
mod random_network;

use random_network::Builder;
use releqc_runtime::BitWidth;
use releqc_runtime::accel::config::ENOUGH_BANKS;
use releqc_runtime::accel::cost::{self, CostModel};
use releqc_runtime::accel::step::{Queue, Sections};
use releqc_runtime::accel::{self, AccelConfig};
use releqc_runtime::program::Window;

/// The banks of the default machine are enough: more of them change no cycle. A bank for each buffer makes everything wait, and an
/// execution of 2 bits asks for 9 words a cycle.
#[test]
fn banks_are_waited_for() {
    let on = |builder: &Builder, [weight_banks, activation_banks]: [u32; 2], activation_sram_bytes| {
        let config = AccelConfig { weight_banks, activation_banks, activation_sram_bytes, ..AccelConfig::default() };
        let program = accel::lower::program(&builder.program, &config).unwrap();
        let sections = Sections { weights: builder.weights.len(), constants: builder.constants.len() };
        let model = CostModel { config, ..CostModel::default() };
        cost::program_cost(&program, sections, &builder.program, &model).unwrap()
    };
    let cost = |builder: &Builder, banks| on(builder, banks, AccelConfig::default().activation_sram_bytes);
    let conflicts = |cost: &cost::ProgramCost| cost.queues.map(|queue| queue.conflicts);
    for bits in [2, 8] {
        for builder in [Builder::residual(BitWidth::new(bits).unwrap()), Builder::lenet(BitWidth::new(bits).unwrap())] {
            let (enough, own) = (cost(&builder, [ENOUGH_BANKS; 2]), cost(&builder, [4, 16]));
            assert_eq!((own.cycles, conflicts(&own)), (enough.cycles, [0; 3]));
            let one = cost(&builder, [1, 1]);
            assert!(conflicts(&one)[1] > 0 && one.cycles > own.cycles, "{:?}", one.queues);
            assert_eq!(one.queues.map(|queue| queue.busy), own.queues.map(|queue| queue.busy));
        }
    }
    // Tiles come and go while the array works: what moves waits too.
    let tiled = on(&Builder::residual(BitWidth::MAX), [1, 1], 16 << 10);
    let [load, execute, store] = conflicts(&tiled);
    assert!(load + store > 0 && execute > 0, "{:?}", tiled.queues);
    // The layer of the worked example: 40 cycles, each of 8 words read and 1 written.
    let mut b = Builder::new(1, 8, 4, 4);
    let x = b.quantize();
    let window = Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding: [1; 4] };
    b.conv(x, window, 1, 8, BitWidth::new(2).unwrap(), false);
    let execute = |banks| cost(&b, banks).layers[1].queues[Queue::Execute as usize];
    assert_eq!((execute([4, 16]).busy, execute([4, 16]).conflicts), (40, 0));
    assert_eq!((execute([4, 4]).busy, execute([4, 4]).conflicts), (40, 50));
    assert_eq!((execute([1, 16]).busy, execute([1, 16]).conflicts), (40, 40));
}
