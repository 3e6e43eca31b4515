#include "match/mmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

/* What of a file tells that it is another one. */
struct version {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct tg_mmdb {
    struct tg_mmdb *next;
    char *path;
    unsigned refs;         /* under the lock of all */
    pthread_rwlock_t lock; /* of what follows */
    MMDB_s db;
    struct version version; /* of what is open */
    struct version refused; /* of the last bad file */
    pthread_mutex_t turn;   /* one refreshes at a time */
};

static struct {
    pthread_mutex_t lock;
    struct tg_mmdb *first;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct version version_of(const struct stat *st)
{
    return (struct version){ st->st_dev, st->st_ino, st->st_size, st->st_mtim };
}

static bool same(const struct version *a, const struct version *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* A copy that nobody else can change.  @return a descriptor, -1: errno */
static int copy_of(int fd, off_t size)
{
    int copy = memfd_create("tidegate-mmdb", MFD_CLOEXEC);
    if (copy < 0)
        return -1;
    for (off_t at = 0; at < size;) {
        ssize_t n = sendfile(copy, fd, &at, (size_t)(size - at));
        if (n <= 0) {
            int error = n < 0 ? errno : EIO;
            close(copy);
            errno = error;
            return -1;
        }
    }
    return copy;
}

static int failed(const char *path, const char *why, char *words, size_t size)
{
    snprintf(words, size, "%.200s: %s", path, why);
    return -1;
}

/* libmaxminddb opens by name: the copy has one as long as it is open. */
static int open_copy(MMDB_s *db, const char *path, int copy, char *words, size_t size)
{
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", copy);
    int code = MMDB_open(name, MMDB_MODE_MMAP, db);
    if (code == MMDB_FILE_OPEN_ERROR) /* no /proc here */
        code = MMDB_open(path, MMDB_MODE_MMAP, db);
    if (code == MMDB_SUCCESS)
        return 0;
    return failed(path, code == MMDB_IO_ERROR ? strerror(errno) : MMDB_strerror(code), words, size);
}

static int load(MMDB_s *db, const char *path, struct version *version, char *words, size_t size)
{
    struct stat st;
    int code = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        failed(path, strerror(errno), words, size);
        goto close_file;
    }
    *version = version_of(&st);
    if (!S_ISREG(st.st_mode)) {
        failed(path, "is no file", words, size);
        goto close_file;
    }
    int copy = copy_of(fd, st.st_size);
    if (copy < 0) {
        failed(path, strerror(errno), words, size);
        goto close_file;
    }
    code = open_copy(db, path, copy, words, size);
    close(copy);
close_file:
    if (fd >= 0)
        close(fd);
    return code;
}

static struct tg_mmdb *find(const char *path)
{
    struct tg_mmdb *db = all.first;
    while (db != NULL && strcmp(db->path, path) != 0)
        db = db->next;
    if (db != NULL)
        db->refs++;
    return db;
}

static struct tg_mmdb *make(const char *path, char *words, size_t size)
{
    struct tg_mmdb *db = calloc(1, sizeof(*db));
    char *copy = strdup(path);
    if (db == NULL || copy == NULL || load(&db->db, path, &db->version, words, size) < 0) {
        if (db == NULL || copy == NULL)
            failed(path, "out of memory", words, size);
        free(copy);
        free(db);
        return NULL;
    }
    db->path = copy;
    db->refs = 1;
    pthread_rwlockattr_t kind;
    pthread_rwlockattr_init(&kind);
    /* who looks up all the time must not keep a fresh file out */
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&db->lock, &kind);
    pthread_rwlockattr_destroy(&kind);
    pthread_mutex_init(&db->turn, NULL);
    return db;
}

struct tg_mmdb *tg_mmdb_get(const char *path, char *words, size_t size)
{
    pthread_mutex_lock(&all.lock);
    struct tg_mmdb *db = find(path);
    pthread_mutex_unlock(&all.lock);
    if (db != NULL)
        return db;
    struct tg_mmdb *made = make(path, words, size);
    if (made == NULL)
        return NULL;
    pthread_mutex_lock(&all.lock);
    db = find(path); /* somebody may have been faster */
    if (db == NULL) {
        made->next = all.first;
        all.first = db = made;
        made = NULL;
    }
    pthread_mutex_unlock(&all.lock);
    tg_mmdb_put(made);
    return db;
}

const char *tg_mmdb_path(const struct tg_mmdb *db)
{
    return db->path;
}

static int refresh(struct tg_mmdb *db, char *words, size_t size)
{
    struct stat st;
    struct version version = { 0 };
    MMDB_s fresh, old;
    if (stat(db->path, &st) == 0)
        version = version_of(&st);
    if (same(&version, &db->version) || same(&version, &db->refused))
        return 0;
    if (load(&fresh, db->path, &version, words, size) < 0) {
        db->refused = version;
        return -1;
    }
    pthread_rwlock_wrlock(&db->lock);
    old = db->db;
    db->db = fresh;
    pthread_rwlock_unlock(&db->lock);
    db->version = version;
    MMDB_close(&old);
    return 1;
}

int tg_mmdb_refresh(struct tg_mmdb *db, char *words, size_t size)
{
    pthread_mutex_lock(&db->turn);
    int code = refresh(db, words, size);
    pthread_mutex_unlock(&db->turn);
    return code;
}

/* Lookups -------------------------------------------------------------------------------------- */

static bool find_entry(const MMDB_s *db, const struct tg_ip *ip, MMDB_entry_s *entry)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } a;
    int code;
    memset(&a, 0, sizeof(a));
    a.any.sa_family = ip->v6 ? AF_INET6 : AF_INET;
    uint8_t bytes[16];
    tg_ip_bytes(ip, bytes);
    memcpy(ip->v6 ? (void *)&a.in6.sin6_addr : (void *)&a.in.sin_addr, bytes, ip->v6 ? 16 : 4);
    MMDB_lookup_result_s found = MMDB_lookup_sockaddr(db, &a.any, &code);
    *entry = found.entry;
    return code == MMDB_SUCCESS && found.found_entry;
}

static bool value_at(MMDB_entry_s *entry, const char *const path[], int type,
                     MMDB_entry_data_s *value)
{
    return MMDB_aget_value(entry, value, path) == MMDB_SUCCESS && value->has_data &&
           (int)value->type == type;
}

/* Where the makers of such files put what we look for, first the most common. */
static const char *const country_paths[][3] = {
    { "country", "iso_code", NULL },
    { "registered_country", "iso_code", NULL },
    { "country_code", NULL, NULL },
    { "country", NULL, NULL },
    { NULL, NULL, NULL },
};

static const char *const system_paths[][2] = {
    { "autonomous_system_number", NULL },
    { "asn", NULL },
    { NULL, NULL },
};

static char upper(char c)
{
    return (char)(c >= 'a' && c <= 'z' ? c & ~0x20 : c);
}

bool tg_mmdb_country(struct tg_mmdb *db, const struct tg_ip *ip, char code[2])
{
    MMDB_entry_s entry;
    MMDB_entry_data_s value;
    bool found = false;
    pthread_rwlock_rdlock(&db->lock);
    if (find_entry(&db->db, ip, &entry)) {
        for (size_t i = 0; i < sizeof(country_paths) / sizeof(*country_paths) && !found; i++)
            found = value_at(&entry, country_paths[i], MMDB_DATA_TYPE_UTF8_STRING, &value) &&
                    value.data_size == 2;
        if (found) {
            code[0] = upper(value.utf8_string[0]);
            code[1] = upper(value.utf8_string[1]);
        }
    }
    pthread_rwlock_unlock(&db->lock);
    return found;
}

/* "AS13335", as some write it. */
static bool read_system(const MMDB_entry_data_s *value, uint32_t *number)
{
    uint64_t n = 0;
    if (value->data_size < 3 || value->data_size > 12 || strncmp(value->utf8_string, "AS", 2) != 0)
        return false;
    for (uint32_t i = 2; i < value->data_size; i++) {
        if (value->utf8_string[i] < '0' || value->utf8_string[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(value->utf8_string[i] - '0');
    }
    *number = (uint32_t)n;
    return n <= UINT32_MAX;
}

static bool system_of(MMDB_entry_s *entry, uint32_t *number)
{
    MMDB_entry_data_s value;
    for (size_t i = 0; i < sizeof(system_paths) / sizeof(*system_paths); i++) {
        if (value_at(entry, system_paths[i], MMDB_DATA_TYPE_UINT32, &value)) {
            *number = value.uint32;
            return true;
        }
        if (value_at(entry, system_paths[i], MMDB_DATA_TYPE_UTF8_STRING, &value) &&
            read_system(&value, number))
            return true;
    }
    return false;
}

bool tg_mmdb_system(struct tg_mmdb *db, const struct tg_ip *ip, uint32_t *number)
{
    MMDB_entry_s entry;
    pthread_rwlock_rdlock(&db->lock);
    bool found = find_entry(&db->db, ip, &entry) && system_of(&entry, number);
    pthread_rwlock_unlock(&db->lock);
    return found;
}

struct tg_mmdb *tg_mmdb_ref(struct tg_mmdb *db)
{
    pthread_mutex_lock(&all.lock);
    db->refs++;
    pthread_mutex_unlock(&all.lock);
    return db;
}

void tg_mmdb_put(struct tg_mmdb *db)
{
    if (db == NULL)
        return;
    pthread_mutex_lock(&all.lock);
    bool last = --db->refs == 0;
    struct tg_mmdb **link = &all.first;
    while (last && *link != NULL && *link != db)
        link = &(*link)->next;
    if (last && *link != NULL)
        *link = db->next;
    pthread_mutex_unlock(&all.lock);
    if (!last)
        return;
    MMDB_close(&db->db);
    pthread_rwlock_destroy(&db->lock);
    pthread_mutex_destroy(&db->turn);
    free(db->path);
    free(db);
}
