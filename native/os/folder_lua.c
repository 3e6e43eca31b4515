#include "bind/class.h"
#include "bind/task.h"
#include "os/folder.h"
#include "stream/file.h"
#include "stream/stream_lua.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

int luaopen_tidegate_native_folder(lua_State *L);

#define FOLDER_MT "tidegate.folder"
#define UPLOAD_MT "tidegate.upload"
#define NAME_MAX_LEN 255
#define ENTRIES_MAX 100000

struct folder {
    int fd; /* -1: closed */
};

/* A file that takes its name when it is complete. */
struct upload {
    int folder; /* where it lies; -1: over */
    char temporary[64];
    char name[NAME_MAX_LEN + 1];
};

static struct folder *check(lua_State *L)
{
    struct folder *f = luaL_checkudata(L, 1, FOLDER_MT);
    luaL_argcheck(L, f->fd >= 0, 1, "the folder is closed");
    return f;
}

static int fail(lua_State *L, const char *op, int sys)
{
    struct tg_error err;
    tg_error_set(&err, "file", op, sys);
    tg_push_failure(L, &err);
    lua_pushinteger(L, sys);
    return 3;
}

/* nil, err, errno */
static int push_error(lua_State *L, const struct tg_error *err)
{
    tg_push_failure(L, err);
    lua_pushinteger(L, err->code == TG_DENIED && err->sys == 0 ? EACCES : err->sys);
    return 3;
}

/** open(path) -> folder | nil, err */
static int l_open(lua_State *L)
{
    struct tg_error err;
    int fd = tg_folder_open(luaL_checkstring(L, 1), &err);
    if (fd < 0)
        return tg_push_failure(L, &err);
    struct folder *f = lua_newuserdata(L, sizeof(*f));
    f->fd = fd;
    luaL_getmetatable(L, FOLDER_MT);
    lua_setmetatable(L, -2);
    return 1;
}

static int l_close(lua_State *L)
{
    struct folder *f = luaL_checkudata(L, 1, FOLDER_MT);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    return 0;
}

/** folder:find(path) -> { size, mtime (s), stamp = text that changes with the file, directory = bool },
 *   stream (files only) | nil, err, errno.  Anything else than files and folders is not there. */
static int l_find(lua_State *L)
{
    struct tg_error err = { .code = TG_OK };
    struct stat st;
    char stamp[64];
    int fd = tg_folder_at(check(L)->fd, luaL_checkstring(L, 2), O_RDONLY | O_NONBLOCK, &err);
    if (fd < 0)
        return push_error(L, &err);
    if (fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
        close(fd);
        return fail(L, "open", ENOENT);
    }
    lua_createtable(L, 0, 4);
    lua_pushnumber(L, (lua_Number)st.st_size);
    lua_setfield(L, -2, "size");
    lua_pushnumber(L, (lua_Number)st.st_mtim.tv_sec);
    lua_setfield(L, -2, "mtime");
    snprintf(stamp, sizeof(stamp), "%llx%08lx-%llx", (unsigned long long)st.st_mtim.tv_sec,
             (unsigned long)st.st_mtim.tv_nsec, (unsigned long long)st.st_size);
    lua_pushstring(L, stamp);
    lua_setfield(L, -2, "stamp");
    lua_pushboolean(L, S_ISDIR(st.st_mode));
    lua_setfield(L, -2, "directory");
    if (S_ISDIR(st.st_mode)) {
        close(fd);
        return 1;
    }
    tg_stream_push(L, tg_file_stream(tg_reactor_of(L), fd));
    return 2;
}

/** seek(stream of find(), offset) -> true | nil, err */
static int l_seek(lua_State *L)
{
    struct tg_stream *s = tg_stream_check(L, 1);
    lua_Number to = luaL_checknumber(L, 2);
    if (s == NULL || s->ops->fd == NULL || lseek(s->ops->fd(s), (off_t)to, SEEK_SET) < 0)
        return tg_push_failure_text(L, "io", "cannot seek");
    lua_pushboolean(L, 1);
    return 1;
}

/** folder:list(path) -> { { name, directory? } … } in no order | nil, err, errno */
static int l_list(lua_State *L)
{
    struct tg_error err = { .code = TG_OK };
    int fd = tg_folder_at(check(L)->fd, luaL_checkstring(L, 2), O_RDONLY | O_DIRECTORY, &err);
    if (fd < 0)
        return push_error(L, &err);
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int sys = errno;
        close(fd);
        return fail(L, "list", sys);
    }
    lua_newtable(L);
    struct dirent *e;
    for (int i = 1; i <= ENTRIES_MAX && (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        bool is_folder = e->d_type == DT_DIR;
        if ((e->d_type == DT_UNKNOWN || e->d_type == DT_LNK) && fstatat(fd, e->d_name, &st, 0) == 0)
            is_folder = S_ISDIR(st.st_mode);
        lua_createtable(L, 2, 0);
        lua_pushstring(L, e->d_name);
        lua_rawseti(L, -2, 1);
        lua_pushboolean(L, is_folder);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, i++);
    }
    closedir(dir);
    return 1;
}

/* Split "a/b/c" into the folder "a/b" and the name "c".  @return the name, or NULL: there is none */
static const char *split(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash != NULL ? (size_t)(slash - path) : 0;
    const char *name = slash != NULL ? slash + 1 : path;
    if (n >= size || name[0] == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strlen(name) > NAME_MAX_LEN)
        return NULL;
    memcpy(folder, path, n);
    folder[n] = 0;
    return name;
}

/** folder:create(path) -> stream, upload | nil, err, errno.  The file is there once upload:commit() is
 * called; until then, or without, nothing of it shows but a name that begins with a dot. */
static int l_create(lua_State *L)
{
    struct tg_error err = { .code = TG_OK };
    char parent[4096];
    uint64_t random;
    struct folder *f = check(L);
    const char *name = split(luaL_checkstring(L, 2), parent, sizeof(parent));
    if (name == NULL)
        return fail(L, "create", EINVAL);
    struct upload *u = lua_newuserdata(L, sizeof(*u));
    u->folder = -1;
    luaL_getmetatable(L, UPLOAD_MT);
    lua_setmetatable(L, -2);
    int folder = tg_folder_at(f->fd, parent, O_PATH | O_DIRECTORY, &err);
    if (folder < 0)
        return push_error(L, &err);
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        random = (uint64_t)folder;
    snprintf(u->temporary, sizeof(u->temporary), ".upload-%016llx", (unsigned long long)random);
    snprintf(u->name, sizeof(u->name), "%s", name);
    int fd = openat(folder, u->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        int sys = errno;
        close(folder);
        return fail(L, "create", sys);
    }
    u->folder = folder;
    tg_stream_push(L, tg_file_stream(tg_reactor_of(L), fd));
    lua_insert(L, -2);
    return 2;
}

static int end_upload(struct upload *u, bool keep)
{
    int sys = 0;
    if (u->folder < 0)
        return EBADF;
    if (keep && renameat(u->folder, u->temporary, u->folder, u->name) < 0)
        sys = errno;
    if (!keep || sys != 0)
        unlinkat(u->folder, u->temporary, 0);
    close(u->folder);
    u->folder = -1;
    return sys;
}

/** upload:commit() -> true | nil, err, errno: the file takes its name */
static int l_commit(lua_State *L)
{
    int sys = end_upload(luaL_checkudata(L, 1, UPLOAD_MT), true);
    if (sys != 0)
        return fail(L, "rename", sys);
    lua_pushboolean(L, 1);
    return 1;
}

/** upload:close(): forget it, unless it was committed */
static int l_discard(lua_State *L)
{
    end_upload(luaL_checkudata(L, 1, UPLOAD_MT), false);
    return 0;
}

int luaopen_tidegate_native_folder(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "find", l_find }, { "list", l_list }, { "create", l_create }, { "close", l_close },
        { NULL, NULL },
    };
    static const luaL_Reg of_upload[] = {
        { "commit", l_commit }, { "close", l_discard }, { NULL, NULL },
    };
    static const luaL_Reg functions[] = { { "open", l_open }, { "seek", l_seek }, { NULL, NULL } };
    tg_class(L, FOLDER_MT, methods, l_close, NULL);
    tg_class(L, UPLOAD_MT, of_upload, l_discard, NULL);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}
