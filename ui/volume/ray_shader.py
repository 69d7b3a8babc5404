"""The shaders of the 3D view (GLSL 3.30): a ray for every pixel through the volume.

Rays are parallel; coordinates are those of the texture, 0 to 1 from face to face (x, y, z). A brick
in which nothing is drawn is skipped in one step. The picture has premultiplied alpha.

Each mode is a program of its own, and what is rarely needed is a loop that ends at once: Mesa's
llvmpipe, which draws where there is no graphics card, executes both sides of every ``if``.
"""

from typing import Final

__all__ = ["CLEAR", "MOST_SURFACES", "VERTEX", "fragment"]

MOST_SURFACES: Final = 3
CLEAR: Final = 0.0064  # squared share of the contrast below which the attenuated volume is clear

# one triangle that covers the picture, without a buffer
VERTEX: Final = """#version 330 core
out vec2 at;
void main() {
    vec2 corner = vec2(float((gl_VertexID << 1) & 2), float(gl_VertexID & 2));
    at = corner * 2.0 - 1.0;
    gl_Position = vec4(at, 0.0, 1.0);
}
"""

_FRAGMENT: Final = """
uniform sampler3D voxels;
uniform sampler3D bricks;
uniform sampler2D colours;
uniform vec3 origin, right, down;      // the plane of the picture
uniform vec3 ahead;                    // texture coordinates for each um
uniform vec3 lowest, highest;          // what is drawn
uniform vec3 cut_low, cut_high;        // 1 where that face is a cut
uniform vec3 per_brick, per_voxel;     // bricks and voxels over the whole texture
uniform vec3 axis_x, axis_y, axis_z;   // of the volume, in the view (right, down, ahead)
uniform vec3 voxel_um;
uniform float stride;                  // um
uniform vec2 contrast;                 // values drawn darkest and brightest
uniform vec2 over_medium;              // value of the medium; the full contrast over it
uniform float opacity;                 // 1/um
uniform float levels[3];
uniform vec4 paints[3];
uniform float filled;
uniform vec2 outer;                    // the outermost level; 1 if denser inside, else -1
in vec2 at;
out vec4 picture;

vec3 coloured(float value) {
    float share = clamp((value - contrast.x) / (contrast.y - contrast.x), 0.0, 1.0);
    return texture(colours, vec2((share * 255.0 + 0.5) / 256.0, 0.5)).rgb;
}

float absorption(float value) {
    float relative = clamp((value - over_medium.x) / over_medium.y, 0.0, 1.0);
    return opacity * max(relative * relative - CLEAR, 0.0);
}

// In a brick of this range, may anything be drawn?
bool shows(vec2 range) {
#if MODE == ATTENUATED
    return max(absorption(range.x), absorption(range.y)) > 0.0;
#else
    bool any = false;
    for (int i = 0; i < COUNT; i++) any = any || (range.x < levels[i] && range.y >= levels[i]);
    return any;
#endif
}

// The normal in the view, (right, down, ahead): against the gradient.
vec3 normal_at(vec3 p) {
    vec3 h = 1.0 / per_voxel;
    vec3 slope = vec3(
        texture(voxels, p + vec3(h.x, 0, 0)).r - texture(voxels, p - vec3(h.x, 0, 0)).r,
        texture(voxels, p + vec3(0, h.y, 0)).r - texture(voxels, p - vec3(0, h.y, 0)).r,
        texture(voxels, p + vec3(0, 0, h.z)).r - texture(voxels, p - vec3(0, 0, h.z)).r
    ) / voxel_um;
    vec3 seen = slope.x * axis_x + slope.y * axis_y + slope.z * axis_z;
    return -seen / max(length(seen), 1e-9);
}

const vec3 LIGHT = vec3(-0.42, -0.56, -0.71);  // from the upper left, in front
const vec3 HALF = vec3(-0.2272, -0.3029, -0.9249);

vec4 shaded(vec4 paint, vec3 normal) {
    if (normal.z > 0.0) normal = -normal;        // seen from inside
    float facing = max(-normal.z, 0.05);
    float lit = 0.34 + 0.62 * max(dot(normal, LIGHT), 0.0) + 0.12 * facing;
    float gloss = 0.30 * pow(max(dot(normal, HALF), 0.0), 40.0);
    // a thin skin covers more where the ray grazes it
    float alpha = 1.0 - pow(1.0 - min(paint.a, 0.9999), 1.0 / facing);
    alpha = paint.a >= 0.9999 ? 1.0 : alpha;
    return vec4(min(paint.rgb * lit + gloss, 1.0) * alpha, alpha);
}

// The surface that is met first on the way from one value to the next; -1 if none is.
int first_met(float former, float value) {
    int first = -1;
    float nearest = 2.0;
    for (int i = 0; i < COUNT; i++) {
        float away = abs(levels[i] - former);
        bool met = (former < levels[i]) != (value < levels[i]) && away < nearest;
        first = met ? i : first;
        nearest = met ? away : nearest;
    }
    return first;
}

// A cheap hash: the first samples of neighbouring rays lie at different depths, against rings.
float jitter() {
    return fract(52.9829189 * fract(dot(gl_FragCoord.xy, vec2(0.06711056, 0.00583715))));
}

void main() {
    vec3 o = origin + at.x * right + at.y * down;
    vec3 inverse = 1.0 / ahead;
    vec3 a = (lowest - o) * inverse, b = (highest - o) * inverse;
    vec3 enter = min(a, b), leave = max(a, b);
    float t = max(max(enter.x, enter.y), enter.z);
    float end = min(min(leave.x, leave.y), leave.z);
    picture = vec4(0.0);
    if (t >= end) return;
    float best = -1.0, through = 1.0, former = 0.0;
    vec3 light = vec3(0.0);
    vec3 forward = step(vec3(0.0), ahead);
#if MODE == ATTENUATED
    t += stride * jitter();
#elif MODE == SURFACES
    former = texture(voxels, clamp(o + t * ahead, lowest, highest)).r;
    float cut = dot(vec3(equal(enter, vec3(t))), mix(cut_high, cut_low, forward));
    if (outer.y * (former - outer.x) >= 0.0 && filled > 0.0 && cut > 0.5) {
        picture = vec4(coloured(former), 1.0);
        return;
    }
#endif
    while (t < end && through > 0.01) {
#if MODE == MAXIMUM
        float brick_end = end + stride;  // skipping costs more than it saves: noise is everywhere
#else
        // skip bricks in which nothing is drawn
        float brick_end = t;
        while (brick_end <= t && t < end) {
            vec3 cell = floor((o + (t + 1e-3 * stride) * ahead) * per_brick);
            vec3 faces = ((cell + forward) / per_brick - o) * inverse;
            float out_of = min(min(faces.x, faces.y), faces.z);
            brick_end = t + max(ceil((out_of - t) / stride), 1.0) * stride;
            ivec3 place = ivec3(clamp(cell, vec3(0.0), ceil(per_brick) - 1.0));
            if (!shows(texelFetch(bricks, place, 0).rg)) t = brick_end;
        }
#endif
        brick_end = min(brick_end - 0.5 * stride, end);
#if MODE == SURFACES
        former = texture(voxels, o + (t - stride) * ahead).r;
#endif
        while (t < brick_end && through > 0.01) {
            float value = texture(voxels, o + t * ahead).r;
#if MODE == MAXIMUM
            best = max(best, value);
#elif MODE == ATTENUATED
            float alpha = 1.0 - exp(-absorption(value) * stride);
            light += through * alpha * coloured(value);
            through *= 1.0 - alpha;
#else
            float slope = (value - former) / stride;
            int next = first_met(former, value);
            while (next >= 0 && through > 0.01) {
                vec3 p = o + (t - (value - levels[next]) / slope) * ahead;
                // one more step of the secant: values between samples are not on a straight line
                float off = (levels[next] - texture(voxels, p).r) / slope;
                p += clamp(off, -0.5 * stride, 0.5 * stride) * ahead;
                vec4 skin = shaded(paints[next], normal_at(p));
                light += through * skin.rgb;
                through *= 1.0 - skin.a;
                former = value > former ? levels[next] : levels[next] - 1e-6;
                next = first_met(former, value);
            }
            former = value;
#endif
            t += stride;
        }
    }
#if MODE == MAXIMUM
    picture = vec4(coloured(best), 1.0);
#else
    picture = vec4(light, 1.0 - through);
#endif
}
"""


def fragment(mode: str, surfaces: int) -> str:
    """Return the fragment shader of a mode ("maximum", "attenuated" or "surfaces")."""
    modes = ("MAXIMUM", "ATTENUATED", "SURFACES")
    numbers = [f"#define {name} {number}" for number, name in enumerate(modes)]
    chosen = [f"#define MODE {mode.upper()}", f"#define COUNT {surfaces}", f"#define CLEAR {CLEAR}"]
    return "\n".join(["#version 330 core", *numbers, *chosen, _FRAGMENT])
