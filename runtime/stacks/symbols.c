#include "base/mem.h"
#include "stacks/stacks.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOUND 4096u

/* A file that is mapped as code, and its symbols: all of them, if it was not stripped. */
struct module {
    struct module *next;
    const char *path; /* as the loader knows it, which is how it is found again */
    char name[64];    /* "(libc.so.6)" */
    const unsigned char *bytes;
    size_t size;
    const ElfW(Sym) * symbols;
    size_t count;
    const char *strings;
    size_t strings_size;
};

struct tg_symbols {
    struct module *modules;
    struct {
        const void *address;
        const char *name;
    } found[FOUND]; /* the loader looks through all its symbols for each address */
};

struct tg_symbols *tg_symbols_new(void)
{
    return tg_zalloc(sizeof(struct tg_symbols));
}

/* Something of so many bytes in the file, or NULL. */
static const void *within(const struct module *m, size_t offset, size_t size)
{
    return offset <= m->size && size <= m->size - offset ? m->bytes + offset : NULL;
}

static void find_symbols(struct module *m)
{
    const ElfW(Ehdr) *head = within(m, 0, sizeof(*head));
    if (head == NULL || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_shentsize != sizeof(ElfW(Shdr)))
        return;
    const ElfW(Shdr) *sections = within(m, head->e_shoff, head->e_shnum * sizeof(*sections));
    for (size_t i = 0; sections != NULL && i < head->e_shnum; i++) {
        const ElfW(Shdr) *one = &sections[i];
        if (one->sh_type != SHT_SYMTAB || one->sh_link >= head->e_shnum)
            continue;
        const ElfW(Shdr) *strings = &sections[one->sh_link];
        m->symbols = within(m, one->sh_offset, one->sh_size);
        m->strings = within(m, strings->sh_offset, strings->sh_size);
        m->strings_size = strings->sh_size;
        m->count = m->symbols != NULL && m->strings != NULL ? one->sh_size / sizeof(*m->symbols) : 0;
    }
}

static void map(struct module *m, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd >= 0 && fstat(fd, &stat) == 0 && stat.st_size > 0) {
        void *bytes = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes != MAP_FAILED) {
            m->bytes = bytes;
            m->size = (size_t)stat.st_size;
            find_symbols(m);
        }
    }
    if (fd >= 0)
        close(fd);
}

static struct module *module_of(struct tg_symbols *s, const char *path)
{
    for (struct module *m = s->modules; m != NULL; m = m->next)
        if (m->path == path)
            return m;
    struct module *m = tg_zalloc(sizeof(*m));
    m->path = path;
    m->next = s->modules;
    s->modules = m;
    const char *slash = strrchr(path, '/');
    snprintf(m->name, sizeof(m->name), "(%s)", slash != NULL ? slash + 1 : path);
    map(m, strchr(path, '/') != NULL ? path : "/proc/self/exe");
    return m;
}

static const char *symbol_at(const struct module *m, size_t offset)
{
    for (size_t i = 0; i < m->count; i++) {
        const ElfW(Sym) *one = &m->symbols[i];
        if (ELF64_ST_TYPE(one->st_info) == STT_FUNC && offset >= one->st_value &&
            offset - one->st_value < one->st_size && one->st_name < m->strings_size)
            return m->strings + one->st_name;
    }
    return NULL;
}

static const char *look_up(struct tg_symbols *s, const void *address)
{
    Dl_info info;
    if (dladdr(address, &info) == 0 || info.dli_fname == NULL)
        return "(compiled Lua)";
    if (info.dli_sname != NULL)
        return info.dli_sname;
    const struct module *m = module_of(s, info.dli_fname);
    const char *name = symbol_at(m, (size_t)((uintptr_t)address - (uintptr_t)info.dli_fbase));
    return name != NULL ? name : m->name;
}

const char *tg_symbols_name(struct tg_symbols *s, const void *address)
{
    size_t at = ((uintptr_t)address * UINT64_C(0x9E3779B97F4A7C15) >> 40) % FOUND;
    if (s->found[at].name == NULL || s->found[at].address != address) {
        s->found[at].address = address;
        s->found[at].name = look_up(s, address);
    }
    return s->found[at].name;
}

void tg_symbols_free(struct tg_symbols *s)
{
    while (s->modules != NULL) {
        struct module *m = s->modules;
        s->modules = m->next;
        if (m->bytes != NULL)
            munmap((void *)m->bytes, m->size);
        free(m);
    }
    free(s);
}
