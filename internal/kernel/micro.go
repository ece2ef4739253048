package kernel

// micro is the micro-kernels of one path.
type micro struct {
	rows, width int // of the largest tile; width is that of a panel
	levels      []level
	strip       func(*tile)                                // one row by stripPanels panels; nil if there is none
	copyRows    func(dst, src *float32, srcStep, rows int) // copies rows of width; nil on the portable path
}

// level is the kernels of one width, by rows from 1.
type level struct {
	width int
	tiles []func(*tile)
}

// stripPanels is how many panels one row reads at once: enough streams to keep
// memory busy.
const stripPanels = 4

var (
	whole256 = level{16, []func(*tile){nil, tile256_1x2, tile256_2x2, tile256_3x2, tile256_4x2, tile256_5x2, tile256_6x2}}
	half256  = level{8, []func(*tile){nil, tile256_1x1, tile256_2x1, tile256_3x1, tile256_4x1, tile256_5x1, tile256_6x1}}
	whole512 = level{32, []func(*tile){nil, tile512_1x2, tile512_2x2, tile512_3x2, tile512_4x2, tile512_5x2, tile512_6x2, tile512_7x2,
		tile512_8x2, tile512_9x2, tile512_10x2, tile512_11x2, tile512_12x2, tile512_13x2, tile512_14x2}}
)

var micros = [...]micro{
	Portable: {rows: 4, width: 4, levels: []level{
		{4, []func(*tile){nil, tilePortable1, tilePortable2, tilePortable3, tilePortable4}},
	}},
	AVX2:   {rows: 6, width: 16, levels: []level{half256, whole256}, strip: tile256_1x8, copyRows: copyRows256},
	AVX512: {rows: 14, width: 32, levels: []level{half256, whole256, whole512}, strip: tile512_1x8, copyRows: copyRows512},
}

// take is how many of so many columns the next tiles compute: all, but 16 of 17
// to 24 for tiles of 32, since 16 and 8 are less work.
func (u *micro) take(columns int) int {
	if u.width == 32 && columns > 16 && columns <= 24 {
		return 16
	}
	return min(columns, u.width)
}

// aligned says whether kernels can read so many columns of a matrix where it
// lies, without reading behind them.
func (u *micro) aligned(columns int) bool {
	for columns > 0 {
		some := u.take(columns)
		if u.level(some).width != some {
			return false
		}
		columns -= some
	}
	return true
}

// level is the narrowest kernels that take so many columns, at most u.width.
func (u *micro) level(columns int) *level {
	for i := range u.levels {
		if columns <= u.levels[i].width {
			return &u.levels[i]
		}
	}
	panic("kernel: more columns than a panel has")
}

// panel computes rows x columns, at most u.width.
func (u *micro) panel(t *tile, rows, tallest, columns int) {
	aAt, cAt := t.aAt, t.cAt
	for i := 0; i < columns; i += t.columns {
		t.columns = u.take(columns - i)
		t.aAt, t.cAt = aAt, cAt+i*4
		u.run(t, rows, tallest)
		t.bAt += t.columns * 4
		t.biasAt += t.columns * 4
	}
}

// run computes rows x t.columns values, in tiles of equal height but the last
// few, which are lower by one. It leaves t.aAt and t.cAt behind the last row.
func (u *micro) run(t *tile, rows, tallest int) {
	kernels := u.level(t.columns).tiles
	tallest = min(tallest, len(kernels)-1)
	tiles := (rows + tallest - 1) / tallest
	for rows > 0 {
		height := (rows + tiles - 1) / tiles
		lower := tiles*height - rows
		t.repeats = tiles - lower
		t.aShift, t.cShift = height*t.aRow, height*t.cRow
		rows -= t.repeats * height
		tiles -= t.repeats
		kernels[height](t)
	}
}
