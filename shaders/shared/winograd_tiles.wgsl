// What winograd_input, winograd_gradient and winograd_output share: where tiles lie in maps, and their transformed values in
// planes [point][tile][channels]. A call works on a slab: the samples from `first` on, at most `samples` of them. One
// invocation handles a tile and four channels; consecutive invocations have consecutive channels, so that they read and
// write runs of memory.

struct Dims {
    height: u32,    // of the map
    width: u32,
    channels: u32,  // vectors of four
    down: u32,      // rows of tiles: ceil(height / TILE)
    across: u32,    // tiles of a row: ceil(width / TILE)
    first: u32,     // the slab's first sample
    samples: u32,   // most samples of a slab
    plane: u32,     // vectors from a point to the next
}
@group(0) @binding(0) var<uniform> dims: Dims;

// A tile and four of its channels.
struct Place {
    sample: u32,    // in the micro-batch
    row: u32,       // of the tile's first output
    column: u32,
    channel: u32,   // vector of four
    value: u32,     // where point 0 lies in the planes
    inside: bool,   // false: the invocation has nothing to do
}

fn place(invocation: u32) -> Place {
    let tile = invocation / dims.channels;
    let line = tile / dims.across;
    let sample = line / dims.down;
    var place: Place;
    place.channel = invocation % dims.channels;
    place.row = (line % dims.down) * TILE;
    place.column = (tile % dims.across) * TILE;
    place.sample = dims.first + sample;
    place.value = invocation;
    place.inside = sample < dims.samples && place.sample < step.samples;
    return place;
}
