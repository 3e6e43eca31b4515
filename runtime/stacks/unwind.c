#include "stacks/unwind.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#if defined(__x86_64__)
enum { REGISTERS = 17, STACK_POINTER = 7, RETURN_ADDRESS = 16 };
#elif defined(__aarch64__)
enum { REGISTERS = 32, STACK_POINTER = 31, RETURN_ADDRESS = 30 };
#else
#error "no numbers of registers for this processor"
#endif

enum { STATES_MAX = 4 };

/* Pointer encodings of .eh_frame: what linkers write today. */
enum { ENC_PCREL_SDATA4 = 0x1b, ENC_UDATA4 = 0x03, ENC_DATAREL_SDATA4 = 0x3b };

struct cursor {
    uintptr_t pc;
    uintptr_t registers[REGISTERS];
};

enum rule { RULE_SAME, RULE_UNDEFINED, RULE_OFFSET, RULE_ODD };

/* How the caller's registers are found at one place of a function. */
struct row {
    unsigned cfa_register;
    bool known; /* not by an expression */
    intptr_t cfa_offset;
    struct {
        uint8_t rule;
        int32_t offset;
    } of[REGISTERS];
};

/* A function's entry in the tables, and what it shares with others. */
struct entry {
    uintptr_t begin;
    const uint8_t *common, *common_end, *own, *own_end; /* instructions */
    uintptr_t code_factor;
    intptr_t data_factor;
};

static void *pointer(uintptr_t address)
{
    return (void *)address; /* NOLINT(performance-no-int-to-ptr): from a register, or the stack */
}

static uint32_t u32_at(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

static int32_t s32_at(const uint8_t *p)
{
    return (int32_t)u32_at(p);
}

static uintptr_t uleb(const uint8_t **p)
{
    uintptr_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = *(*p)++;
        if (shift < 64)
            value |= (uintptr_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return value;
    }
}

static intptr_t sleb(const uint8_t **p)
{
    uintptr_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = *(*p)++;
        if (shift < 64)
            value |= (uintptr_t)(byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) != 0);
    if (shift < 64 && (byte & 0x40) != 0)
        value |= ~(uintptr_t)0 << shift;
    return (intptr_t)value;
}

/* @return the entry that begins last before pc, or NULL */
static const uint8_t *look_up(const uint8_t *index, uintptr_t pc)
{
    if (index == NULL || index[0] != 1 || index[1] != ENC_PCREL_SDATA4 || index[2] != ENC_UDATA4 ||
        index[3] != ENC_DATAREL_SDATA4)
        return NULL;
    const uint8_t *rows = index + 12;
    uint32_t low = 0, high = u32_at(index + 8);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uintptr_t)index + (uintptr_t)(intptr_t)s32_at(rows + 8 * (size_t)middle) <= pc)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : index + s32_at(rows + 8 * (size_t)(low - 1) + 4);
}

/* @return whether it is of a kind that is understood */
static bool read_common(struct entry *e, const uint8_t *p, bool *augmented)
{
    uint32_t length = u32_at(p);
    if (length == 0 || length >= UINT32_C(0xfffffff0))
        return false;
    e->common_end = p + 4 + length;
    uint8_t version = p[8];
    const char *letters = (const char *)p + 9;
    p = (const uint8_t *)letters + strlen(letters) + 1;
    e->code_factor = uleb(&p);
    e->data_factor = sleb(&p);
    uintptr_t ra = version == 1 ? *p++ : uleb(&p);
    *augmented = letters[0] == 'z';
    uint8_t encoding = 0;
    const uint8_t *instructions = p;
    if (*augmented) {
        uintptr_t size = uleb(&p);
        instructions = p + size;
        for (letters++; *letters != 0; letters++) {
            if (*letters == 'R')
                encoding = *p++;
            else if (*letters == 'L')
                p++;
            else if (*letters == 'P') /* an encoding, and four bytes */
                p += (p[0] & 0x0f) == 0x0b || (p[0] & 0x0f) == 0x03 ? 5 : 9;
        }
    }
    e->common = instructions;
    return ra == RETURN_ADDRESS && encoding == ENC_PCREL_SDATA4;
}

static bool read_entry(struct entry *e, const uint8_t *p, uintptr_t pc)
{
    uint32_t length = u32_at(p);
    if (length == 0 || length >= UINT32_C(0xfffffff0))
        return false;
    e->own_end = p + 4 + length;
    bool augmented;
    if (!read_common(e, p + 4 - u32_at(p + 4), &augmented))
        return false;
    p += 8;
    e->begin = (uintptr_t)p + (uintptr_t)(intptr_t)s32_at(p);
    uintptr_t size = u32_at(p + 4);
    p += 8;
    if (augmented) {
        uintptr_t skipped = uleb(&p);
        p += skipped;
    }
    e->own = p;
    return pc >= e->begin && pc - e->begin < size;
}

static void set(struct row *row, uintptr_t number, enum rule rule, intptr_t offset)
{
    if (number < REGISTERS) {
        row->of[number].rule = (uint8_t)rule;
        row->of[number].offset = (int32_t)offset;
    }
}

/* One instruction without an operand in its first byte.  @return whether it is known */
static bool extended(const struct entry *e, uint8_t code, const uint8_t **p, struct row *row, const struct row *first)
{
    uintptr_t number, size;
    switch (code) {
    case 0x00: /* nop */
    case 0x2d: /* of aarch64: return addresses are signed from here on */
        return true;
    case 0x05: /* offset_extended */
        number = uleb(p);
        set(row, number, RULE_OFFSET, (intptr_t)uleb(p) * e->data_factor);
        return true;
    case 0x11: /* offset_extended_sf */
        number = uleb(p);
        set(row, number, RULE_OFFSET, sleb(p) * e->data_factor);
        return true;
    case 0x06: /* restore_extended */
        number = uleb(p);
        if (number < REGISTERS)
            row->of[number] = first->of[number];
        return true;
    case 0x07: /* undefined */
        set(row, uleb(p), RULE_UNDEFINED, 0);
        return true;
    case 0x08: /* same_value */
        set(row, uleb(p), RULE_SAME, 0);
        return true;
    case 0x09: /* register */
    case 0x14: /* val_offset */
    case 0x15: /* val_offset_sf */
        number = uleb(p);
        uleb(p);
        set(row, number, RULE_ODD, 0);
        return true;
    case 0x0c: /* def_cfa */
        row->cfa_register = (unsigned)uleb(p);
        row->cfa_offset = (intptr_t)uleb(p);
        row->known = true;
        return true;
    case 0x12: /* def_cfa_sf */
        row->cfa_register = (unsigned)uleb(p);
        row->cfa_offset = sleb(p) * e->data_factor;
        row->known = true;
        return true;
    case 0x0d: /* def_cfa_register */
        row->cfa_register = (unsigned)uleb(p);
        return true;
    case 0x0e: /* def_cfa_offset */
        row->cfa_offset = (intptr_t)uleb(p);
        return true;
    case 0x13: /* def_cfa_offset_sf */
        row->cfa_offset = sleb(p) * e->data_factor;
        return true;
    case 0x0f: /* def_cfa_expression */
        size = uleb(p);
        *p += size;
        row->known = false;
        return true;
    case 0x10: /* expression */
    case 0x16: /* val_expression */
        number = uleb(p);
        size = uleb(p);
        *p += size;
        set(row, number, RULE_ODD, 0);
        return true;
    case 0x2e: /* GNU_args_size */
        uleb(p);
        return true;
    default:
        return false;
    }
}

/* How far an instruction leads on, or -1 when it is another one. */
static intptr_t advance(uint8_t code, const uint8_t **p)
{
    if (code >> 6 == 1)
        return code & 0x3f;
    uint32_t wide = 0;
    int size = code == 0x02 ? 1 : code == 0x03 ? 2 : code == 0x04 ? 4 : 0;
    if (size == 0)
        return -1;
    memcpy(&wide, *p, (size_t)size); /* both processors are little-endian */
    *p += size;
    return (intptr_t)wide;
}

/* @return whether all instructions up to pc were understood */
static bool run(const struct entry *e, const uint8_t *p, const uint8_t *end, uintptr_t pc, struct row *row,
    const struct row *first)
{
    struct row states[STATES_MAX];
    int depth = 0;
    uintptr_t at = e->begin;
    while (p < end) {
        uint8_t code = *p++;
        intptr_t distance = advance(code, &p);
        if (distance >= 0) {
            at += (uintptr_t)distance * e->code_factor;
            if (at > pc)
                return true;
        } else if (code >> 6 == 2) { /* offset */
            set(row, code & 0x3f, RULE_OFFSET, (intptr_t)uleb(&p) * e->data_factor);
        } else if (code >> 6 == 3) { /* restore */
            if ((code & 0x3f) < REGISTERS)
                row->of[code & 0x3f] = first->of[code & 0x3f];
        } else if (code == 0x0a && depth < STATES_MAX) { /* remember_state */
            states[depth++] = *row;
        } else if (code == 0x0b && depth > 0) { /* restore_state */
            *row = states[--depth];
        } else if (!extended(e, code, &p, row, first)) {
            return false;
        }
    }
    return true;
}

static bool find_row(uintptr_t pc, struct row *row)
{
    struct dl_find_object found;
    struct entry e;
    if (_dl_find_object(pointer(pc), &found) != 0)
        return false;
    const uint8_t *p = look_up(found.dlfo_eh_frame, pc);
    if (p == NULL || !read_entry(&e, p, pc))
        return false;
    *row = (struct row){ .known = false };
    if (!run(&e, e.common, e.common_end, UINTPTR_MAX, row, row))
        return false;
    struct row first = *row;
    return run(&e, e.own, e.own_end, pc, row, &first) && row->known && row->cfa_register < REGISTERS;
}

/* The stack of a thread has places that a sanitizer forbids to read. */
__attribute__((no_sanitize("address", "undefined"))) static uintptr_t word_at(uintptr_t address)
{
    return *(const uintptr_t *)pointer(address);
}

/* A return address without the signature that a processor of ARM keeps in its upper bits. */
static uintptr_t unsigned_address(uintptr_t address)
{
#if defined(__aarch64__)
    register uintptr_t link __asm__("x30") = address;
    __asm__("hint #7" : "+r"(link)); /* xpaclri: does nothing where nothing is signed */
    return link;
#else
    return address;
#endif
}

static bool step(struct cursor *c, bool innermost, uintptr_t end)
{
    struct row row;
    if (!find_row(c->pc - !innermost, &row))
        return false;
    uintptr_t cfa = c->registers[row.cfa_register] + (uintptr_t)row.cfa_offset, stack = c->registers[STACK_POINTER];
    if (cfa < stack || cfa > end || (cfa & 7) != 0 || (cfa == stack && !innermost))
        return false;
    uintptr_t next[REGISTERS];
    for (int i = 0; i < REGISTERS; i++) {
        uintptr_t at = cfa + (uintptr_t)(intptr_t)row.of[i].offset;
        bool saved = row.of[i].rule == RULE_OFFSET && at >= stack && at <= end - sizeof(uintptr_t) && (at & 7) == 0;
        next[i] = saved ? word_at(at) : row.of[i].rule == RULE_SAME ? c->registers[i] : 0;
    }
    next[STACK_POINTER] = cfa;
    memcpy(c->registers, next, sizeof(next));
    c->pc = unsigned_address(next[RETURN_ADDRESS]);
    return c->pc != 0;
}

static void begin(struct cursor *c, const ucontext_t *context)
{
#if defined(__x86_64__)
    static const int numbers[REGISTERS] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
        REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP };
    for (int i = 0; i < REGISTERS; i++)
        c->registers[i] = (uintptr_t)context->uc_mcontext.gregs[numbers[i]];
    c->pc = c->registers[RETURN_ADDRESS];
#else
    for (int i = 0; i < 31; i++)
        c->registers[i] = context->uc_mcontext.regs[i];
    c->registers[STACK_POINTER] = context->uc_mcontext.sp;
    c->pc = context->uc_mcontext.pc;
#endif
}

int tg_unwind(const void *context, uintptr_t end, void **frames, int max)
{
    struct cursor c;
    begin(&c, context);
    int depth = 0;
    do
        frames[depth++] = pointer(c.pc);
    while (depth < max && step(&c, depth == 1, end));
    return depth;
}
