# One cmocka executable for each spec/unit/c/(name)_test.c; target `c-tests` builds all of them.

file(GLOB_RECURSE test_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/spec/unit/c/*_test.c)
pkg_check_modules(CMOCKA IMPORTED_TARGET cmocka)
add_custom_target(c-tests)

if(CMOCKA_FOUND)
  enable_testing()
  foreach(source IN LISTS test_sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    target_link_libraries(${name} PRIVATE tidegate_native tidegate_runtime PkgConfig::CMOCKA)
    target_link_options(${name} PRIVATE -rdynamic)
    set_target_properties(${name} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/c-tests)
    add_test(NAME ${name} COMMAND ${name})
    add_dependencies(c-tests ${name})
  endforeach()
endif()
