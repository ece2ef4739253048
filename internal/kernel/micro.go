package kernel

// micro is the micro-kernels of one path.
type micro struct {
	rows, width int           // of the largest tile
	whole       []func(*tile) // by rows: up to width columns
	half        []func(*tile) // by rows: up to width/2 columns; nil if there are none
	strip       func(*tile)   // one row by stripPanels panels; nil if there is none
	copyRows    func(dst, src *float32, srcStep, rows int)
}

// stripPanels is how many panels one row reads at once: enough streams to keep
// memory busy.
const stripPanels = 4

var micros = [...]micro{
	Portable: {
		rows: 4, width: 4,
		whole: []func(*tile){nil, tilePortable1, tilePortable2, tilePortable3, tilePortable4},
	},
	AVX2: {
		rows: 6, width: 16, strip: tile256_1x8, copyRows: copyRows256,
		whole: []func(*tile){nil, tile256_1x2, tile256_2x2, tile256_3x2, tile256_4x2, tile256_5x2, tile256_6x2},
		half:  []func(*tile){nil, tile256_1x1, tile256_2x1, tile256_3x1, tile256_4x1, tile256_5x1, tile256_6x1},
	},
	AVX512: {
		rows: 14, width: 32, strip: tile512_1x8, copyRows: copyRows512,
		whole: []func(*tile){nil, tile512_1x2, tile512_2x2, tile512_3x2, tile512_4x2, tile512_5x2, tile512_6x2, tile512_7x2,
			tile512_8x2, tile512_9x2, tile512_10x2, tile512_11x2, tile512_12x2, tile512_13x2, tile512_14x2},
		half: []func(*tile){nil, tile512_1x1, tile512_2x1, tile512_3x1, tile512_4x1, tile512_5x1, tile512_6x1, tile512_7x1,
			tile512_8x1, tile512_9x1, tile512_10x1, tile512_11x1, tile512_12x1, tile512_13x1, tile512_14x1},
	},
}

// aligned says whether kernels can read so many columns of a matrix where it
// lies, without reading behind them.
func (u *micro) aligned(columns int) bool {
	return columns == u.width || columns*2 == u.width && u.half != nil
}

// kernels are those for so many columns, by rows.
func (u *micro) kernels(columns int) []func(*tile) {
	if u.half != nil && columns <= u.width/2 {
		return u.half
	}
	return u.whole
}

// run computes rows x t.columns values, in tiles of equal height but the last
// few. It leaves t.aAt and t.cAt behind the last row.
func (u *micro) run(t *tile, rows, tallest int) {
	kernels := u.kernels(t.columns)
	tiles := (rows + tallest - 1) / tallest
	for rows > 0 {
		height := (rows + tiles - 1) / tiles
		shorter := tiles*height - rows // tiles of height-1
		t.repeats = tiles - shorter
		t.aShift, t.cShift = height*t.aRow, height*t.cRow
		rows -= t.repeats * height
		tiles -= t.repeats
		kernels[height](t)
	}
}
