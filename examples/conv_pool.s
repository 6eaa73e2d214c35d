; An image of 6 x 6 x 2, a 3 x 3 convolution with padding 1 to 3 channels of 3 bits, and a 2 x 2 maximum pool.
;
;   releqc sim --program examples/conv_pool.s --memory X.npy --output Y.npy
;
; X.npy holds 72 values in (channel, row, column) order. One step of the input's codes is 0.5, and code 10 is 0. The code of the
; convolution is also stored to the arena, to show the third queue.
.arena 108
.input 72
.host 99

; Depth in the order (row of the kernel, column, channel).
.weights at=0 bits=3 outputs=3 depth=18
.row  1  0   2 -1   0  3  -4  1   1  1  -2  0   3 -3   0  2  -1  1
.row  0  1   1  1   0  1   1  0   2  2   1  0   0  1   1  1   0  1
.row -1  1  -2  2  -1  1   0  0   0  0   0  0   1 -1   2 -2   1 -1

; A bias takes the zero point of the input with it: b - 10 * (sum of the channel's weights), which are 4, 14 and 0.
.constants at=0 outputs=3
.channel bias=-40  multiplier=0.0125
.channel bias=-120 multiplier=0.0078125
.channel bias=0    multiplier=0.03125

; The image as codes to bytes 0 to 71.
SET_OUTPUT address=0 height=6 width=6 channels=2 zero_point=10 dram=0
QUANTIZE host=0 inv_scale=2.0 channel_last=0

; The convolution to bytes 128 to 235; code 50 is 0. Lanes take the nine taps of a channel: two steps, over channels nine.
SET_INPUT address=0 height=6 width=6 channels=2 zero_point=10 dram=0
SET_OUTPUT address=128 height=6 width=6 channels=3 zero_point=50 dram=0
SET_KERNEL height=3 width=3 dilation_height=1 dilation_width=1
SET_STRIDE height=1 width=1
SET_PADDING top=1 left=1 bottom=1 right=1
SET_WEIGHTS weights=0 constants=0 bits=3 outputs=3 groups=1 lanes_over=1
SET_CLAMP lo=30 hi=90
LOAD_WEIGHTS wait_execute=0 signal_execute=1 buffer=0 slot=0 first_output=0 outputs=3
EXECUTE wait_load=1 wait_store=0 signal_load=0 signal_store=1 weights=0 slot=0 first_output=0 outputs=3 channel=0
STORE wait_execute=1 signal_execute=0 dram=0 buffer=128 run=108 runs=1 pitch=108

; The pool to bytes 256 to 282.
SET_INPUT address=128 height=6 width=6 channels=3 zero_point=50 dram=0
SET_OUTPUT address=256 height=3 width=3 channels=3 zero_point=50 dram=0
SET_KERNEL height=2 width=2 dilation_height=1 dilation_width=1
SET_STRIDE height=2 width=2
SET_PADDING top=0 left=0 bottom=0 right=0
POOL_MAX

; As floats, (channel, row, column), to host values 72 to 98.
SET_INPUT address=256 height=3 width=3 channels=3 zero_point=50 dram=0
DEQUANTIZE host=72 scale=0.25 channel_last=0
RETURN host=72 count=27
END
