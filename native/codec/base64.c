#include "codec/base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/* Every digit but the last two of an alphabet. */
#define SAME \
    ['A'] = 1, ['B'] = 2, ['C'] = 3, ['D'] = 4, ['E'] = 5, ['F'] = 6, ['G'] = 7, ['H'] = 8, \
    ['I'] = 9, ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, \
    ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, \
    ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, \
    ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, \
    ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43, \
    ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50, \
    ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57, \
    ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62

/* The value of a digit and one more; 0: it is none. */
static const uint8_t values[2][256] = {
    { SAME, ['+'] = 63, ['/'] = 64 },
    { SAME, ['-'] = 63, ['_'] = 64 },
};

static char digit(unsigned value, bool url)
{
    value &= 63;
    return value < 62 ? letters[value] : (url ? "-_" : "+/")[value - 62];
}

size_t tg_base64_encode(const uint8_t *in, size_t len, bool url, char *out)
{
    char table[64];
    size_t n = 0, i = 0;
    for (unsigned v = 0; v < 64; v++)
        table[v] = digit(v, url);
    for (; i + 2 < len; i += 3) {
        unsigned word = (unsigned)in[i] << 16 | (unsigned)in[i + 1] << 8 | in[i + 2];
        out[n++] = table[word >> 18];
        out[n++] = table[word >> 12 & 63];
        out[n++] = table[word >> 6 & 63];
        out[n++] = table[word & 63];
    }
    if (i == len)
        return n;
    unsigned word = (unsigned)in[i] << 16 | (i + 1 < len ? (unsigned)in[i + 1] << 8 : 0);
    out[n++] = table[word >> 18];
    out[n++] = table[word >> 12 & 63];
    if (i + 1 < len)
        out[n++] = table[word >> 6 & 63];
    while (!url && n % 4 != 0)
        out[n++] = '=';
    return n;
}

/* Four digits.  @return whether they are */
static bool take_four(const uint8_t *value, const uint8_t *in, uint8_t *out)
{
    unsigned a = value[in[0]], b = value[in[1]], c = value[in[2]], d = value[in[3]];
    if (a == 0 || b == 0 || c == 0 || d == 0)
        return false;
    uint32_t word = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
    out[0] = (uint8_t)(word >> 16);
    out[1] = (uint8_t)(word >> 8);
    out[2] = (uint8_t)word;
    return true;
}

ssize_t tg_base64_decode(const char *in, size_t len, bool url, uint8_t *out)
{
    const uint8_t *digits = (const uint8_t *)in, *value = values[url];
    if (!url && len % 4 != 0)
        return -1;
    for (int i = 0; i < 2 && !url && len > 0 && digits[len - 1] == '='; i++)
        len--;
    if (len % 4 == 1)
        return -1;
    size_t n = 0, i = 0;
    for (; i + 3 < len; i += 4, n += 3)
        if (!take_four(value, digits + i, out + n))
            return -1;
    if (i == len)
        return (ssize_t)n;
    uint8_t last[4] = { 'A', 'A', 'A', 'A' }, bytes[3];
    size_t rest = len - i;
    for (size_t k = 0; k < rest; k++)
        last[k] = digits[i + k];
    if (!take_four(value, last, bytes))
        return -1;
    for (size_t k = 0; k + 1 < rest; k++)
        out[n++] = bytes[k];
    return (ssize_t)n;
}
