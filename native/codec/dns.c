#include "codec/dns.h"

#include "base/mem.h"

#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RECORD_HEAD 10u /* type, class, ttl, length */
#define POINTER 0xc0u
#define EDNS_OPTION_SUBNET 8u
#define DATA_TEXT_MAX (4u * TG_DNS_MESSAGE_MAX)

struct tg_dns_message {
    ldns_pkt *pkt;
    ldns_buffer *name, *data; /* texts of the record that was looked at last; NULL: none yet */
};

static int broken(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "dns", "decode", TG_PROTOCOL, detail);
}

static unsigned read16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* ---- walking ---- */

/* Step over a name.  Pointers lead back, and never from one to the next: chains of them would
 * make a short message expensive.  @return the position behind it | 0 */
static size_t skip_name(const uint8_t *in, size_t len, size_t at)
{
    size_t start = at;
    while (at < len && at - start < LDNS_MAX_DOMAINLEN) {
        unsigned c = in[at];
        if (c >= POINTER) {
            if (at + 2 > len)
                return 0;
            size_t target = read16(in + at) & 0x3fffu;
            return target < start && target >= TG_DNS_HEAD && in[target] < POINTER ? at + 2 : 0;
        }
        if (c == 0)
            return at + 1;
        if (c > LDNS_MAX_LABELLEN)
            return 0;
        at += 1 + c;
    }
    return 0;
}

/** Sees each record that is no question: the position of its type. */
typedef void (*record_cb)(void *arg, size_t at);

static int walk(const uint8_t *in, size_t len, record_cb each, void *arg, struct tg_error *err)
{
    if (len < TG_DNS_HEAD)
        return broken(err, "the message is shorter than its head");
    if (len > TG_DNS_MESSAGE_MAX)
        return tg_error_put(err, "dns", "decode", TG_LIMIT, "the message is too long");
    size_t questions = read16(in + 4);
    size_t records = read16(in + 6) + read16(in + 8) + read16(in + 10);
    if (questions + records > (LDNS_QR_WIRE(in) ? TG_DNS_RECORDS_MAX : TG_DNS_QUERY_MAX))
        return tg_error_put(err, "dns", "decode", TG_LIMIT, "the message has too many records");
    size_t at = TG_DNS_HEAD;
    for (size_t i = 0; i < questions + records; i++) {
        at = skip_name(in, len, at);
        if (at == 0)
            return broken(err, "a name is malformed or cut off");
        if (i < questions) {
            if (len - at < 4)
                return broken(err, "a question is cut off");
            at += 4;
            continue;
        }
        if (len - at < RECORD_HEAD || len - at - RECORD_HEAD < read16(in + at + 8))
            return broken(err, "a record is cut off");
        if (each != NULL)
            each(arg, at);
        at += RECORD_HEAD + read16(in + at + 8);
    }
    return 0;
}

int tg_dns_check(const uint8_t *in, size_t len, struct tg_error *err)
{
    return walk(in, len, NULL, NULL, err);
}

struct aging {
    uint8_t *message;
    const struct tg_dns_ages *ages;
};

static void age_record(void *arg, size_t at)
{
    const struct aging *a = arg;
    uint8_t *p = a->message + at;
    if (read16(p) == LDNS_RR_TYPE_OPT)
        return; /* flags stand where others have a time */
    uint32_t ttl = (uint32_t)read16(p + 4) << 16 | read16(p + 6);
    if (a->ages->fixed >= 0)
        ttl = (uint32_t)a->ages->fixed;
    else {
        ttl = ttl > a->ages->passed ? ttl - a->ages->passed : 0;
        ttl = ttl > a->ages->minimum ? ttl : a->ages->minimum;
    }
    ldns_write_uint32(p + 4, ttl);
}

int tg_dns_age(uint8_t *message, size_t len, const struct tg_dns_ages *ages, struct tg_error *err)
{
    struct aging a = { .message = message, .ages = ages };
    int code = walk(message, len, NULL, NULL, err);
    return code < 0 ? code : walk(message, len, age_record, &a, err);
}

/* ---- parsing ---- */

struct tg_dns_message *tg_dns_new(void)
{
    struct tg_dns_message *m = tg_zalloc(sizeof(*m));
    m->pkt = ldns_pkt_new();
    if (m->pkt == NULL)
        abort();
    return m;
}

static void set_wire_head(ldns_pkt *p, const uint8_t *in)
{
    ldns_pkt_set_id(p, LDNS_ID_WIRE(in));
    ldns_pkt_set_qr(p, LDNS_QR_WIRE(in));
    ldns_pkt_set_opcode(p, (ldns_pkt_opcode)LDNS_OPCODE_WIRE(in));
    ldns_pkt_set_aa(p, LDNS_AA_WIRE(in));
    ldns_pkt_set_tc(p, LDNS_TC_WIRE(in));
    ldns_pkt_set_rd(p, LDNS_RD_WIRE(in));
    ldns_pkt_set_ra(p, LDNS_RA_WIRE(in));
    ldns_pkt_set_ad(p, LDNS_AD_WIRE(in));
    ldns_pkt_set_cd(p, LDNS_CD_WIRE(in));
    ldns_pkt_set_rcode(p, LDNS_RCODE_WIRE(in));
}

/* The pseudo-record of EDNS0 lives in the head of ldns's packet. */
static void take_edns(ldns_pkt *p, ldns_rr *opt)
{
    uint8_t bits[4];
    ldns_write_uint32(bits, ldns_rr_ttl(opt));
    p->_edns_present = 1;
    ldns_pkt_set_edns_udp_size(p, (uint16_t)ldns_rr_get_class(opt));
    ldns_pkt_set_edns_extended_rcode(p, bits[0]);
    ldns_pkt_set_edns_version(p, bits[1]);
    ldns_pkt_set_edns_z(p, ldns_read_uint16(bits + 2));
    ldns_rdf *options = ldns_rr_pop_rdf(opt);
    if (options != NULL) {
        ldns_rdf_deep_free(ldns_pkt_edns_data(p));
        ldns_pkt_set_edns_data(p, options);
    }
    ldns_rr_free(opt);
}

/* ldns is shown the message up to the end of the record: no field reaches into the next one, and
 * data that the type has no room for is noticed.  @return position behind it | 0 */
static size_t take_record(ldns_pkt *p, ldns_pkt_section section, const uint8_t *in, size_t len,
                          size_t at)
{
    size_t pos = at, end = skip_name(in, len, at);
    end += section == LDNS_SECTION_QUESTION ? 4 : RECORD_HEAD + read16(in + end + 8);
    ldns_rr *rr = NULL;
    if (ldns_wire2rr(&rr, in, end, &pos, section) != LDNS_STATUS_OK)
        return 0;
    if (pos != end) {
        ldns_rr_free(rr);
        return 0;
    }
    if (section == LDNS_SECTION_ADDITIONAL && ldns_rr_get_type(rr) == LDNS_RR_TYPE_OPT) {
        take_edns(p, rr);
    } else if (!ldns_pkt_push_rr(p, section, rr)) {
        ldns_rr_free(rr);
        return 0;
    }
    return end;
}

struct tg_dns_message *tg_dns_parse(const uint8_t *in, size_t len, struct tg_error *err)
{
    if (tg_dns_check(in, len, err) < 0)
        return NULL;
    struct tg_dns_message *m = tg_dns_new();
    set_wire_head(m->pkt, in);
    size_t at = TG_DNS_HEAD;
    for (unsigned section = 0; section < TG_DNS_SECTIONS; section++) {
        size_t count = read16(in + 4 + 2 * section);
        for (size_t i = 0; i < count; i++) {
            at = take_record(m->pkt, (ldns_pkt_section)section, in, len, at);
            if (at == 0) {
                broken(err, "a record is malformed");
                tg_dns_free(m);
                return NULL;
            }
        }
    }
    return m;
}

void tg_dns_free(struct tg_dns_message *m)
{
    if (m == NULL)
        return;
    ldns_pkt_free(m->pkt);
    ldns_buffer_free(m->name);
    ldns_buffer_free(m->data);
    free(m);
}

void tg_dns_get_head(const struct tg_dns_message *m, struct tg_dns_head *out)
{
    const ldns_pkt *p = m->pkt;
    *out = (struct tg_dns_head){
        .id = ldns_pkt_id(p),
        .opcode = (uint8_t)ldns_pkt_get_opcode(p),
        .rcode = (uint16_t)(ldns_pkt_edns_extended_rcode(p) << 4 | ldns_pkt_get_rcode(p)),
        .response = ldns_pkt_qr(p),
        .authoritative = ldns_pkt_aa(p),
        .truncated = ldns_pkt_tc(p),
        .recursion_desired = ldns_pkt_rd(p),
        .recursion_available = ldns_pkt_ra(p),
        .authentic = ldns_pkt_ad(p),
        .checking_disabled = ldns_pkt_cd(p),
    };
}

void tg_dns_set_head(struct tg_dns_message *m, const struct tg_dns_head *head)
{
    ldns_pkt *p = m->pkt;
    ldns_pkt_set_id(p, head->id);
    ldns_pkt_set_opcode(p, (ldns_pkt_opcode)(head->opcode & 15));
    ldns_pkt_set_rcode(p, head->rcode & 15);
    ldns_pkt_set_edns_extended_rcode(p, (uint8_t)(head->rcode >> 4));
    ldns_pkt_set_qr(p, head->response);
    ldns_pkt_set_aa(p, head->authoritative);
    ldns_pkt_set_tc(p, head->truncated);
    ldns_pkt_set_rd(p, head->recursion_desired);
    ldns_pkt_set_ra(p, head->recursion_available);
    ldns_pkt_set_ad(p, head->authentic);
    ldns_pkt_set_cd(p, head->checking_disabled);
}

void tg_dns_get_edns(const struct tg_dns_message *m, struct tg_dns_edns *out)
{
    const ldns_pkt *p = m->pkt;
    const ldns_rdf *options = ldns_pkt_edns_data(p);
    *out = (struct tg_dns_edns){
        .present = ldns_pkt_edns(p),
        .dnssec_ok = ldns_pkt_edns_do(p),
        .version = ldns_pkt_edns_version(p),
        .udp_size = ldns_pkt_edns_udp_size(p),
        .options = options != NULL ? ldns_rdf_data(options) : NULL,
        .options_len = options != NULL ? ldns_rdf_size(options) : 0,
    };
}

int tg_dns_set_edns(struct tg_dns_message *m, const struct tg_dns_edns *edns, struct tg_error *err)
{
    ldns_pkt *p = m->pkt;
    if (edns->options_len > TG_DNS_MESSAGE_MAX / 2)
        return tg_error_put(err, "dns", "encode", TG_LIMIT, "too many bytes of EDNS options");
    p->_edns_present = edns->present;
    if (!edns->present)
        return 0;
    ldns_pkt_set_edns_udp_size(p, edns->udp_size);
    ldns_pkt_set_edns_version(p, edns->version);
    ldns_pkt_set_edns_do(p, edns->dnssec_ok);
    if (edns->options_len > 0) {
        ldns_rdf_deep_free(ldns_pkt_edns_data(p));
        ldns_pkt_set_edns_data(p, ldns_rdf_new_frm_data(LDNS_RDF_TYPE_UNKNOWN, edns->options_len,
                                                        edns->options));
    }
    return 0;
}

/* ---- records ---- */

static ldns_rr_list *section_of(const struct tg_dns_message *m, enum tg_dns_section section)
{
    switch (section) {
    case TG_DNS_QUESTION:
        return ldns_pkt_question(m->pkt);
    case TG_DNS_ANSWER:
        return ldns_pkt_answer(m->pkt);
    case TG_DNS_AUTHORITY:
        return ldns_pkt_authority(m->pkt);
    default:
        return ldns_pkt_additional(m->pkt);
    }
}

size_t tg_dns_count(const struct tg_dns_message *m, enum tg_dns_section section)
{
    return ldns_rr_list_rr_count(section_of(m, section));
}

static ldns_buffer *ready(ldns_buffer **b)
{
    if (*b == NULL && (*b = ldns_buffer_new(256)) == NULL)
        abort();
    ldns_buffer_clear(*b);
    return *b;
}

/* Fields whose text ldns writes without trusting their bytes.  Of others (service parameters, for one) it
 * asserts what only an honest sender keeps to. */
static bool is_writable(ldns_rdf_type type)
{
    switch (type) {
    case LDNS_RDF_TYPE_DNAME:
    case LDNS_RDF_TYPE_INT8:
    case LDNS_RDF_TYPE_INT16:
    case LDNS_RDF_TYPE_INT32:
    case LDNS_RDF_TYPE_A:
    case LDNS_RDF_TYPE_AAAA:
    case LDNS_RDF_TYPE_STR:
    case LDNS_RDF_TYPE_B64:
    case LDNS_RDF_TYPE_HEX:
    case LDNS_RDF_TYPE_TYPE:
    case LDNS_RDF_TYPE_CLASS:
    case LDNS_RDF_TYPE_ALG:
    case LDNS_RDF_TYPE_CERT_ALG:
    case LDNS_RDF_TYPE_PERIOD:
    case LDNS_RDF_TYPE_TIME:
    case LDNS_RDF_TYPE_TAG:
    case LDNS_RDF_TYPE_LONG_STR:
    case LDNS_RDF_TYPE_NSEC:
        return true;
    default:
        return false;
    }
}

static bool has_text(const ldns_rr *rr)
{
    const ldns_rr_descriptor *d = ldns_rr_descript(ldns_rr_get_type(rr));
    for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
        if (!is_writable(ldns_rdf_get_type(ldns_rr_rdf(rr, i))))
            return false;
    }
    return ldns_rr_rd_count(rr) >= ldns_rr_descriptor_minimum(d);
}

/* What every reader of zone files takes for any type (RFC 3597): "\# 2 abcd". */
static bool put_unknown(ldns_buffer *b, const ldns_rr *rr)
{
    size_t len = 0;
    for (size_t i = 0; i < ldns_rr_rd_count(rr); i++)
        len += ldns_rdf_size(ldns_rr_rdf(rr, i));
    ldns_buffer_printf(b, len > 0 ? "\\# %zu " : "\\# %zu", len);
    for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
        const ldns_rdf *rdf = ldns_rr_rdf(rr, i);
        for (size_t j = 0; j < ldns_rdf_size(rdf); j++)
            ldns_buffer_printf(b, "%02x", ldns_rdf_data(rdf)[j]);
    }
    return ldns_buffer_status_ok(b);
}

static bool put_data(ldns_buffer *b, const ldns_rr *rr)
{
    if (!has_text(rr))
        return put_unknown(b, rr);
    ldns_buffer_printf(b, "%s", "");
    for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
        if (i > 0)
            ldns_buffer_printf(b, " ");
        if (ldns_rdf2buffer_str(b, ldns_rr_rdf(rr, i)) != LDNS_STATUS_OK)
            return false;
    }
    return ldns_buffer_status_ok(b);
}

int tg_dns_get(struct tg_dns_message *m, enum tg_dns_section section, size_t index,
               struct tg_dns_record *out, struct tg_error *err)
{
    const ldns_rr *rr = ldns_rr_list_rr(section_of(m, section), index);
    ldns_buffer *name = ready(&m->name), *data = ready(&m->data);
    if (rr == NULL || ldns_rdf2buffer_str_dname(name, ldns_rr_owner(rr)) != LDNS_STATUS_OK ||
        !put_data(data, rr))
        return broken(err, "a record has no text");
    *out = (struct tg_dns_record){
        .name = (const char *)ldns_buffer_begin(name),
        .type = (uint16_t)ldns_rr_get_type(rr),
        .cls = (uint16_t)ldns_rr_get_class(rr),
        .ttl = section == TG_DNS_QUESTION ? 0 : ldns_rr_ttl(rr),
        .data = section == TG_DNS_QUESTION ? "" : (const char *)ldns_buffer_begin(data),
    };
    return 0;
}

static int invalid(struct tg_error *err, const char *detail)
{
    return tg_error_put(err, "dns", "encode", TG_INVALID, detail);
}

/* A record without owner, from the text of its data. */
static ldns_rr *read_data(const struct tg_dns_record *record)
{
    char type[TG_DNS_WORD];
    tg_dns_type_word(record->type, type);
    size_t size = strlen(record->data) + sizeof(type) + 16;
    if (size > DATA_TEXT_MAX)
        return NULL;
    char *line = malloc(size);
    if (line == NULL)
        return NULL;
    snprintf(line, size, ". 0 IN %s %s", type, record->data);
    ldns_rr *rr = NULL;
    if (ldns_rr_new_frm_str(&rr, line, 0, NULL, NULL) != LDNS_STATUS_OK)
        rr = NULL;
    free(line);
    return rr;
}

int tg_dns_add(struct tg_dns_message *m, enum tg_dns_section section,
               const struct tg_dns_record *record, struct tg_error *err)
{
    if (tg_dns_count(m, section) >= TG_DNS_RECORDS_MAX)
        return tg_error_put(err, "dns", "encode", TG_LIMIT, "too many records");
    ldns_rdf *name = ldns_dname_new_frm_str(*record->name != '\0' ? record->name : ".");
    if (name == NULL)
        return invalid(err, "a name is malformed or too long");
    ldns_rr *rr = section == TG_DNS_QUESTION ? ldns_rr_new() : read_data(record);
    if (rr == NULL) {
        ldns_rdf_deep_free(name);
        return invalid(err, "the data of a record is malformed");
    }
    ldns_rdf_deep_free(ldns_rr_owner(rr));
    ldns_rr_set_owner(rr, name);
    ldns_rr_set_type(rr, (ldns_rr_type)record->type);
    ldns_rr_set_class(rr, (ldns_rr_class)record->cls);
    ldns_rr_set_ttl(rr, record->ttl);
    ldns_rr_set_question(rr, section == TG_DNS_QUESTION);
    if (!ldns_pkt_push_rr(m->pkt, (ldns_pkt_section)section, rr)) {
        ldns_rr_free(rr);
        return invalid(err, "a record cannot be added");
    }
    return 0;
}

/* ---- building ---- */

static uint8_t *to_wire(const struct tg_dns_message *m, size_t *len)
{
    uint8_t *bytes = NULL;
    if (ldns_pkt2wire(&bytes, m->pkt, len) == LDNS_STATUS_OK)
        return bytes;
    free(bytes);
    return NULL;
}

static void drop_records(ldns_pkt *p)
{
    ldns_rr_list_deep_free(ldns_pkt_answer(p));
    ldns_rr_list_deep_free(ldns_pkt_authority(p));
    ldns_rr_list_deep_free(ldns_pkt_additional(p));
    ldns_pkt_set_answer(p, ldns_rr_list_new());
    ldns_pkt_set_authority(p, ldns_rr_list_new());
    ldns_pkt_set_additional(p, ldns_rr_list_new());
    ldns_pkt_set_ancount(p, 0);
    ldns_pkt_set_nscount(p, 0);
    ldns_pkt_set_arcount(p, 0);
    ldns_pkt_set_tc(p, true);
}

uint8_t *tg_dns_build(struct tg_dns_message *m, size_t limit, size_t *len, struct tg_error *err)
{
    limit = limit < TG_DNS_MESSAGE_MAX ? limit : TG_DNS_MESSAGE_MAX;
    uint8_t *bytes = to_wire(m, len);
    if (bytes != NULL && *len > limit) {
        free(bytes);
        drop_records(m->pkt);
        bytes = to_wire(m, len);
    }
    if (bytes != NULL && *len <= limit)
        return bytes;
    free(bytes);
    tg_error_put(err, "dns", "encode", TG_LIMIT, "the message is too long");
    return NULL;
}

size_t tg_dns_subnet(const uint8_t *ip, size_t ip_len, uint8_t *out)
{
    bool v4 = ip_len == 4;
    size_t bytes = v4 ? 3 : 16;
    ldns_write_uint16(out, EDNS_OPTION_SUBNET);
    ldns_write_uint16(out + 2, (uint16_t)(4 + bytes));
    ldns_write_uint16(out + 4, v4 ? 1 : 2);
    out[6] = (uint8_t)(bytes * 8);
    out[7] = 0;
    memcpy(out + 8, ip, bytes);
    return 8 + bytes;
}

/* ---- words ---- */

/* The number behind a prefix, "TYPE12".  @return false: it is none */
static bool numbered(const char *word, const char *prefix, uint16_t *out)
{
    size_t len = strlen(prefix);
    char *end;
    if (strncasecmp(word, prefix, len) != 0 || word[len] < '0' || word[len] > '9')
        return false;
    unsigned long n = strtoul(word + len, &end, 10);
    *out = (uint16_t)n;
    return *end == '\0' && n <= UINT16_MAX;
}

bool tg_dns_type_of(const char *word, uint16_t *type)
{
    if (numbered(word, "TYPE", type))
        return true;
    *type = strlen(word) < TG_DNS_WORD ? (uint16_t)ldns_get_rr_type_by_name(word) : 0;
    return *type != 0;
}

bool tg_dns_class_of(const char *word, uint16_t *cls)
{
    if (numbered(word, "CLASS", cls))
        return true;
    *cls = strlen(word) < TG_DNS_WORD ? (uint16_t)ldns_get_rr_class_by_name(word) : 0;
    return *cls != 0;
}

bool tg_dns_rcode_of(const char *word, uint16_t *rcode)
{
    if (numbered(word, "RCODE", rcode))
        return *rcode < 4096;
    const ldns_lookup_table *row = ldns_lookup_by_name(ldns_rcodes, word);
    if (row == NULL)
        return false;
    *rcode = (uint16_t)row->id;
    return true;
}

/* ldns allocates its words. */
static void take_word(char *word, const char *prefix, unsigned number, char out[TG_DNS_WORD])
{
    if (word != NULL && strlen(word) < TG_DNS_WORD)
        memcpy(out, word, strlen(word) + 1);
    else
        snprintf(out, TG_DNS_WORD, "%s%u", prefix, number);
    free(word);
}

void tg_dns_type_word(uint16_t type, char out[TG_DNS_WORD])
{
    take_word(ldns_rr_type2str((ldns_rr_type)type), "TYPE", type, out);
}

void tg_dns_class_word(uint16_t cls, char out[TG_DNS_WORD])
{
    take_word(ldns_rr_class2str((ldns_rr_class)cls), "CLASS", cls, out);
}

void tg_dns_rcode_word(uint16_t rcode, char out[TG_DNS_WORD])
{
    const ldns_lookup_table *row = ldns_lookup_by_id(ldns_rcodes, rcode);
    if (row != NULL)
        snprintf(out, TG_DNS_WORD, "%s", row->name);
    else
        snprintf(out, TG_DNS_WORD, "RCODE%u", rcode);
}
