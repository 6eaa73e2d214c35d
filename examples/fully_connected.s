; Four inputs, four outputs, weights of 2 bits: y = clamp(round((W q + b) m)).
;
;   releqc sim --program examples/fully_connected.s --memory X.npy --output Y.npy
;
; X.npy holds four values of 0 to 255. Values 4 to 7 of Y.npy are the results.
.input 4
.host 8

.weights at=0 bits=2 outputs=4 depth=4
.row  1  0 -1 -2
.row  1  1  1  1
.row  0 -2  0  1
.row -1  0  1  0

.constants at=0 outputs=4
.channel bias=40  multiplier=0.5
.channel bias=-6  multiplier=0.25
.channel bias=100 multiplier=1.0
.channel bias=7   multiplier=0.75

; The inputs as codes to bytes 0 to 3 of the activation buffer.
SET_OUTPUT address=0 height=1 width=1 channels=4 zero_point=0 dram=0
QUANTIZE host=0 inv_scale=1.0 channel_last=0

; A fully connected layer is a convolution of one tap at one position. Results go to bytes 64 to 67.
SET_INPUT address=0 height=1 width=1 channels=4 zero_point=0 dram=0
SET_OUTPUT address=64 height=1 width=1 channels=4 zero_point=0 dram=0
SET_KERNEL height=1 width=1 dilation_height=1 dilation_width=1
SET_STRIDE height=1 width=1
SET_PADDING top=0 left=0 bottom=0 right=0
SET_WEIGHTS weights=0 constants=0 bits=2 outputs=4 groups=1 lanes_over=0
SET_CLAMP lo=0 hi=255
LOAD_WEIGHTS wait_execute=0 signal_execute=1 buffer=0 slot=0 first_output=0 outputs=4
EXECUTE wait_load=1 wait_store=0 signal_load=0 signal_store=0 weights=0 slot=0 first_output=0 outputs=4 channel=0

; The results as floats to host values 4 to 7.
SET_INPUT address=64 height=1 width=1 channels=4 zero_point=0 dram=0
DEQUANTIZE host=4 scale=1.0 channel_last=0
RETURN host=4 count=4
END
